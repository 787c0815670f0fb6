"""The rows of the OpenAI surface."""

from __future__ import annotations

from tests.matrix.rows import Admits, Probe, Row, idempotency

PATH = "/v1/chat/completions"
BODY = {"model": "default", "messages": [{"role": "user", "content": "Let me in"}]}

ROWS = (
    Row(
        f"POST {PATH}",
        Admits.KEYS,
        ("conversation", "message", "run"),
        (
            *idempotency(PATH, BODY, in_body=False),
            # Not stored: a conversation of the caller's own with this label would be found by it.
            Probe("body user", PATH, {**BODY, "user": "<user>", "store": False}, outcome="200", reaches=False),
            Probe("body metadata", PATH, {**BODY, "metadata": {"id": "<conversation>"}}, outcome="200", reaches=False),
        ),
        body=BODY,
    ),
    Row("POST /v1/embeddings", Admits.KEYS, body={"model": "default", "input": "Let me in"}),
    Row("GET /v1/models", Admits.KEYS),
    Row("GET /v1/models/{model}", Admits.KEYS, harmless=("path model",)),
)
