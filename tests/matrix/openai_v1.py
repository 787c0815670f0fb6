"""The rows of the OpenAI surface."""

from __future__ import annotations

from tests.matrix.rows import Admits, Probe, Row, http, idempotency

PATH = "/v1/chat/completions"
STORED = f"{PATH}/{{completion}}"
LABELS = {"metadata": {"topic": "Let me in"}}
THREADS = "/v1/conversations"
THREAD = f"{THREADS}/{{thread}}"
ITEMS = {"items": [{"role": "user", "content": "Let me in"}]}
REFERENCE = {"items": [{"type": "item_reference", "id": "<item>"}]}
PICTURE = {"role": "user", "content": [{"type": "image_url", "image_url": {"file_id": "<file>"}}]}
SEEN = {"role": "user", "content": [{"type": "input_image", "file_id": "<file>"}]}
RESPONSE = {"model": "default", "input": "Let me in"}
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
            Probe("body messages file_id", PATH, {**BODY, "messages": [PICTURE]}, outcome="400"),
        ),
        body=BODY,
    ),
    http(
        f"GET {PATH}",
        *("message", "run"),
        admits=Admits.KEYS,
        more=(Probe("query after", f"{PATH}?after=<completion>", outcome="200", reaches=False),),
    ),
    http(f"GET {STORED}", "message", "run", admits=Admits.KEYS),
    http(f"POST {STORED}", "run", admits=Admits.KEYS, body=LABELS),
    http(f"DELETE {STORED}", "conversation", "message", "run", admits=Admits.KEYS),
    http(
        f"GET {STORED}/messages",
        "message",
        admits=Admits.KEYS,
        more=(Probe("query after", "/v1/chat/completions/<own.completion>/messages?after=msg_<hex>", outcome="400"),),
    ),
    http(
        "POST /v1/responses",
        *("conversation", "message", "run"),
        admits=Admits.KEYS,
        body=RESPONSE,
        more=(
            *idempotency("/v1/responses", RESPONSE, in_body=False),
            Probe(
                "body previous_response_id",
                "/v1/responses",
                {**RESPONSE, "previous_response_id": "<response>"},
                outcome="400",
            ),
            Probe("body conversation", "/v1/responses", {**RESPONSE, "conversation": "<thread>"}),
            Probe(
                "body input", "/v1/responses", {"input": [{"type": "item_reference", "id": "<item>"}]}, outcome="400"
            ),
            Probe("body input file_id", "/v1/responses", {**RESPONSE, "input": [SEEN]}, outcome="400"),
        ),
    ),
    http("GET /v1/responses/{response}", *("conversation", "message", "run"), admits=Admits.KEYS),
    http("DELETE /v1/responses/{response}", *("conversation", "message", "run"), admits=Admits.KEYS),
    http(
        "GET /v1/responses/{response}/input_items",
        "message",
        admits=Admits.KEYS,
        more=(
            Probe("query after", "/v1/responses/<own.response>/input_items?after=<item>", outcome="400", reaches=False),
        ),
    ),
    http(
        "POST /v1/responses/compact",
        *("conversation", "message", "run"),
        admits=Admits.KEYS,
        body=RESPONSE,
        more=(
            *idempotency("/v1/responses/compact", RESPONSE, in_body=False),
            Probe("body input file_id", "/v1/responses/compact", {**RESPONSE, "input": [SEEN]}, outcome="400"),
            Probe(
                "body previous_response_id",
                "/v1/responses/compact",
                {**RESPONSE, "previous_response_id": "<response>"},
                outcome="400",
            ),
        ),
    ),
    # The answer of the probe was not created in the background: its owner gets another error.
    http("POST /v1/responses/{response}/cancel", "run", admits=Admits.KEYS),
    http(
        "POST /v1/responses/input_tokens",
        "message",
        admits=Admits.KEYS,
        body=RESPONSE,
        more=(
            Probe("body conversation", "/v1/responses/input_tokens", {**RESPONSE, "conversation": "<thread>"}),
            Probe("body input file_id", "/v1/responses/input_tokens", {**RESPONSE, "input": [SEEN]}, outcome="400"),
            Probe(
                "body previous_response_id",
                "/v1/responses/input_tokens",
                {**RESPONSE, "previous_response_id": "<response>"},
                outcome="400",
            ),
        ),
    ),
    http(
        f"GET {THREADS}",
        *("conversation", "message"),
        admits=Admits.KEYS,
        more=(
            Probe("query after", f"{THREADS}?after=<thread>", outcome="400"),
            Probe("query query", f"{THREADS}?mode=text&query=<word>", outcome="200", reaches=False),
            Probe(
                "query conversation_id",
                f"{THREADS}?query=in&conversation_id=<thread>",
                outcome="200",
                reaches=False,
            ),
            Probe("query cursor", f"{THREADS}?mode=text&query=<word>&cursor=<found>", outcome="400"),
        ),
    ),
    http(
        f"POST {THREADS}",
        *("conversation", "message"),
        admits=Admits.KEYS,
        body=ITEMS,
        more=(
            Probe("body items", THREADS, REFERENCE, outcome="400"),
            Probe("body items file_id", THREADS, {"items": [SEEN]}, outcome="400"),
        ),
    ),
    http(f"GET {THREAD}", "conversation", admits=Admits.KEYS),
    http(f"POST {THREAD}", "conversation", admits=Admits.KEYS, body=LABELS),
    http(f"DELETE {THREAD}", "conversation", "message", "run", admits=Admits.KEYS),
    http(
        f"GET {THREAD}/items",
        "message",
        admits=Admits.KEYS,
        more=(Probe("query after", f"{THREADS}/<own.thread>/items?after=<item>", outcome="400"),),
    ),
    http(
        f"POST {THREAD}/items",
        "message",
        admits=Admits.KEYS,
        body=ITEMS,
        more=(
            Probe("body items", f"{THREADS}/<own.thread>/items", REFERENCE, outcome="400"),
            Probe("body items file_id", f"{THREADS}/<own.thread>/items", {"items": [SEEN]}, outcome="400"),
        ),
    ),
    http(
        f"GET {THREAD}/items/{{item}}",
        "message",
        admits=Admits.KEYS,
        more=(Probe("item in a conversation of one's own", f"{THREADS}/<own.thread>/items/<item>"),),
    ),
    http(
        f"DELETE {THREAD}/items/{{item}}",
        "message",
        "run",
        admits=Admits.KEYS,
        more=(Probe("item in a conversation of one's own", f"{THREADS}/<own.thread>/items/<item>"),),
    ),
    Row("POST /v1/embeddings", Admits.KEYS, body={"model": "default", "input": "Let me in"}),
    # A form: bad ones are tried in chatservice/dialects/openai_v1/tests/test_files_bad_input.py.
    Row("POST /v1/files", Admits.KEYS, ("file",)),
    Row(
        "GET /v1/files",
        Admits.KEYS,
        ("file",),
        (Probe("query after", "/v1/files?after=<file>", outcome="200", reaches=False),),
    ),
    http("GET /v1/files/{file}", "file", admits=Admits.KEYS),
    http("DELETE /v1/files/{file}", "file", admits=Admits.KEYS),
    http("GET /v1/files/{file}/content", "file", admits=Admits.KEYS),
    Row("GET /v1/models", Admits.KEYS),
    Row("GET /v1/models/{model}", Admits.KEYS, harmless=("path model",)),
)
