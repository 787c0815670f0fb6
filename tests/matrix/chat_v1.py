"""The rows of the chat_v1 dialect."""

from __future__ import annotations

from functools import partial

from tests.matrix import rows
from tests.matrix.rows import Admits, Probe, idempotency

http = partial(rows.http, admits=Admits.KEYS)
BASE = "/v1/chat"
TALK = f"{BASE}/conversations/{{conversation}}"
OWN = f"{BASE}/conversations/<own.conversation>"
AGAIN = f"{BASE}/messages/<own.answer>/regenerate"
SAID = {"content": "Let me in"}
SEEN = {**SAID, "file_ids": ["<file>"]}
AFTER = {**SAID, "parent_id": "<message>"}
OWN_RUN = f"{BASE}/runs/<own.run>/stream"
CURSORS = (
    Probe("header Last-Event-ID", OWN_RUN, headers={"Last-Event-ID": "<cursor>"}, outcome="400"),
    Probe("query after", f"{OWN_RUN}?after=<cursor>", outcome="400"),
)
SEARCH = f"{BASE}/search?mode=text&q=<word>"
SEARCHES = (
    Probe("query q", SEARCH, outcome="200", reaches=False),
    Probe("query conversation_id", f"{BASE}/search?q=in&conversation_id=<conversation>", outcome="200", reaches=False),
    Probe("query cursor", f"{SEARCH}&cursor=<found>", outcome="400"),
)
LINKS_TO = Probe(
    "query conversation_id", f"{BASE}/shared-links?conversation_id=<conversation>", outcome="200", reaches=False
)

ROWS = (
    http(f"GET {BASE}/conversations", "conversation"),
    http(f"POST {BASE}/conversations", "conversation", body={"title": "Mine"}),
    http(
        f"POST {BASE}/conversations/stream",
        *("conversation", "message", "run"),
        body=SAID,
        more=(
            Probe("body file_ids", f"{BASE}/conversations/stream", SEEN, outcome="400"),
            *idempotency(f"{BASE}/conversations/stream", SAID),
        ),
    ),
    http(f"GET {TALK}", "conversation"),
    http(f"PATCH {TALK}", "conversation", body={"title": "Mine now"}),
    http(f"DELETE {TALK}", "conversation", "message", "run"),
    http(f"GET {TALK}/export", "conversation", "message"),
    http(f"GET {TALK}/messages", "message"),
    http(
        f"POST {TALK}/messages",
        *("conversation", "message", "run"),
        body=SAID,
        more=(
            Probe("body parent_id", f"{OWN}/messages", AFTER),
            Probe("body file_ids", f"{OWN}/messages", SEEN, outcome="400"),
            Probe("body parent_id", f"{OWN}/messages", {**AFTER, "role": "system"}),
            *idempotency(f"{OWN}/messages", SAID, "201"),
        ),
    ),
    http(
        f"POST {TALK}/messages/stream",
        *("conversation", "message", "run"),
        body=SAID,
        more=(
            Probe("body parent_id", f"{OWN}/messages/stream", AFTER),
            Probe("body file_ids", f"{OWN}/messages/stream", SEEN, outcome="400"),
            *idempotency(f"{OWN}/messages/stream", SAID),
        ),
    ),
    http(f"GET {BASE}/access-log", "entry"),
    http(f"GET {BASE}/imports", "user"),
    http(
        f"POST {BASE}/imports",
        "user",
        body={"file_id": "<own.file>"},
        more=(Probe("body file_id", f"{BASE}/imports", {"file_id": "<file>"}, outcome="400"),),
    ),
    http(f"GET {BASE}/imports/{{import}}", "user"),
    http(f"POST {BASE}/imports/{{import}}/cancel", "user"),
    http(f"GET {BASE}/looks", "entry"),
    http(f"GET {BASE}/me/budgets"),
    http(f"GET {BASE}/me/keys", "user"),
    http(f"POST {BASE}/me/keys", "user", body={"name": "Mine"}),
    http(f"DELETE {BASE}/me/keys/{{apikey}}", "user"),
    http(f"POST {BASE}/me/keys/{{apikey}}/rotate", "user", body={"overlap_hours": 1}),
    http(f"GET {BASE}/me/storage", "run"),
    http(f"GET {BASE}/me/usage", "run"),
    http(f"GET {BASE}/usage"),
    http(f"GET {BASE}/me", "user"),
    http(f"PATCH {BASE}/me", "user", body={"preferred_model": None}),
    # The body does not confirm the deletion, because later probes still need the subject.
    http(f"DELETE {BASE}/me", "user", body={"username": "somebody else"}),
    http(f"GET {BASE}/me/export", "user", "conversation", "message", "run"),
    http(f"GET {BASE}/messages/{{message}}", "message"),
    http(f"DELETE {BASE}/messages/{{message}}", "message"),
    http(f"PUT {BASE}/messages/{{answer}}/feedback", "message", body={"rating": "up", "comment": "Mine"}),
    http(f"DELETE {BASE}/messages/{{answer}}/feedback", "message"),
    http(f"POST {BASE}/messages/{{answer}}/cancel", "message", "run"),
    http(
        f"POST {BASE}/messages/{{answer}}/regenerate", "message", "run", body={}, more=(*idempotency(AGAIN, {}, "201"),)
    ),
    http(
        f"POST {BASE}/messages/{{answer}}/regenerate/stream",
        *("message", "run"),
        body={},
        more=(*idempotency(f"{AGAIN}/stream", {}),),
    ),
    http(f"GET {BASE}/shared-links", "conversation", "message", more=(LINKS_TO,)),
    http(
        f"POST {BASE}/shared-links",
        *("conversation", "message"),
        body={"message_id": "<own.message>"},
        more=(Probe("body message_id", f"{BASE}/shared-links", {"message_id": "<message>"}),),
    ),
    http(f"DELETE {BASE}/shared-links/{{link}}", "conversation"),
    http(f"GET {BASE}/search", "message", "conversation", more=SEARCHES),
    # A complete answer cannot be continued: its owner gets 409, everybody else 404.
    *(
        http(
            f"POST {BASE}/messages/{{answer}}/{what}",
            *("message", "run"),
            body={},
            more=(*idempotency(f"{BASE}/messages/<own.answer>/{what}", {}, "409"),),
        )
        for what in ("continue", "continue/stream")
    ),
    http(f"POST {BASE}/runs/{{run}}/cancel", "message", "run"),
    http(f"GET {BASE}/runs/{{run}}/stream", "message", "run", more=CURSORS),
)
