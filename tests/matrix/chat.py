"""The rows of the chat dialect."""

from __future__ import annotations

from tests.matrix.rows import Probe, http

BASE = "/chat/conversation"
OWN = f"{BASE}/<own.conversation>"
SAID = {"content": "Let me in"}
CURSORS = (
    # A cursor of a run outside this conversation is not found, whoever owns the run.
    Probe("header Last-Event-ID", f"{OWN}/stream", headers={"Last-Event-ID": "<cursor>"}),
    Probe("query after", f"{OWN}/stream?after=<cursor>"),
    # The caller's own conversation has no pending question, whatever the key.
    Probe(
        "header Idempotency-Key", f"{OWN}/stream", headers={"Idempotency-Key": "<key>"}, outcome="204", reaches=False
    ),
    Probe("query client_message_id", f"{OWN}/stream?client_message_id=<key>", outcome="204", reaches=False),
)

ROWS = (
    http(f"GET {BASE}", "conversation"),
    http(f"GET {BASE}/{{conversation}}", "conversation"),
    http(f"DELETE {BASE}/{{conversation}}", "conversation", "message", "run"),
    http(
        f"POST {BASE}/{{conversation}}/message",
        "message",
        body=SAID,
        more=(Probe("body fileIds", f"{OWN}/message", {**SAID, "fileIds": ["<file>"]}, outcome="400"),),
    ),
    http(f"GET {BASE}/{{conversation}}/messages", "message"),
    http(f"GET {BASE}/{{conversation}}/stream", "message", "run", more=CURSORS),
)
