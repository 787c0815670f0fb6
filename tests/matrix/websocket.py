"""The rows of the websocket's frames."""

from __future__ import annotations

from typing import Any

from tests.matrix.rows import Admits, Probe, Row

CONTINUE = {"type": "continue", "message_id": "<own.answer>"}
SEND = {"type": "send", "content": "Let me in"}


def probe(position: str, frame: dict[str, Any], outcome: str = "not_found", *, reaches: bool = True) -> Probe:
    return Probe(f"frame {position}", body=frame, outcome=outcome, reaches=reaches)


ROWS = (
    Row("frame auth", Admits.ANYONE, ("user",)),
    Row("frame ping", Admits.GUESTS),
    Row(
        "frame send",
        Admits.GUESTS,
        ("conversation", "message", "run"),
        (
            probe("conversation_id", {**SEND, "conversation_id": "<conversation>"}),
            probe("parent_id", {**SEND, "conversation_id": "<own.conversation>", "parent_id": "<message>"}),
            probe("file_ids", {**SEND, "file_ids": ["<file>"]}, "file_not_found"),
            probe("client_id", {**SEND, "client_id": "<key>"}, "ai_complete", reaches=False),
        ),
        body=SEND,
    ),
    Row(
        "frame subscribe",
        Admits.GUESTS,
        ("conversation", "message", "run"),
        (
            probe("run_id", {"type": "subscribe", "run_id": "<run>"}),
            probe("conversation_id", {"type": "subscribe", "conversation_id": "<conversation>"}),
            probe("cursor", {"type": "subscribe", "run_id": "<own.run>", "cursor": "<cursor>"}, "bad_cursor"),
        ),
    ),
    Row(
        "frame continue",
        Admits.GUESTS,
        ("message", "run"),
        (
            probe("message_id", {"type": "continue", "message_id": "<answer>"}),
            probe("client_id", {**CONTINUE, "client_id": "<key>"}, "nothing_to_continue", reaches=False),
        ),
        body=CONTINUE,
    ),
    Row("frame stop", Admits.GUESTS, ("run",), (probe("run_id", {"type": "stop", "run_id": "<run>"}),)),
    Row(
        "frame unsubscribe",
        Admits.GUESTS,
        ("run",),
        # The frame only ends a subscription of the same socket.
        (probe("run_id", {"type": "unsubscribe", "run_id": "<run>"}, "unsubscribed", reaches=False),),
    ),
)
