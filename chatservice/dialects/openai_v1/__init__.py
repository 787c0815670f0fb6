"""OpenAI-compatible API.

Document: the Chatbot API, and OpenAI's own reference where it is silent. Mounted at `/v1/`. Needs a bearer
key; `Authorization: beareryour_key` (no space, any case) is accepted here, because its document
prints it. Every call is stored as history, in the conversation whose answers it resends, unless `store` is false or
the account is full: then it is answered all the same, with the header `X-Not-Stored: quota`.

Not served: the legacy completions, assistants, batches, fine-tuning, audio and images.
"""

# For drf-spectacular. OpenAI's schemas, which this document consists of, are in the words of OpenAPI 3.1.
SCHEMA_SETTINGS = {
    "OAS_VERSION": "3.1.0",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "chatservice.dialects.openai_v1.reference.components.add_components",
    ],
}
