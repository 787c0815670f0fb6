"""OpenAI-compatible API.

Document: the Chatbot API, and OpenAI's own reference where it is silent. Mounted at `/v1/`. Needs a bearer
key; `Authorization: beareryour_key` (no space, any case) is accepted here, because its document
prints it. Every call is stored as history, in the conversation whose answers it resends, unless `store` is false or
the account is full: then it is answered all the same, with the header `X-Not-Stored: quota`.

Not served: the legacy completions, assistants, files, batches, fine-tuning, audio and images.
"""
