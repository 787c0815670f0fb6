"""OpenAI-compatible API.

Document: the Chatbot API, and OpenAI's own reference where it is silent. Mounted at `/v1/`. Needs a bearer
key; `Authorization: beareryour_key` (no space, any case) is accepted here, because its document
prints it. Every call is kept as history, threaded by what it resends, unless `store` is false.

Not served: the legacy completions, assistants, files, batches, fine-tuning, audio and images.
"""
