"""The client's frames in the subprotocol graphql-transport-ws. Pure, except that it reads limits from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from django.conf import settings

from chatservice.dialects.graphql.execution import Operation
from chatservice.dialects.json_body import BOM, check_bounds
from chatservice.dialects.problems import BadRequest

TYPES = ("connection_init", "ping", "pong", "subscribe", "complete")
ID_CHARS = 200
# The protocol's own close codes.
BAD_FRAME, UNAUTHORIZED, FORBIDDEN, NOT_ACCEPTABLE, NO_INIT = 4400, 4401, 4403, 4406, 4408
ID_TAKEN, STOPPED_BY_STAFF, TOO_MANY, FAILED = 4409, 4410, 4429, 4500
# Our own code: clients of the protocol never reconnect after a 4500. (Daphne cannot send 1013, the usual code.)
UNAVAILABLE = 4503

_decode = msgspec.json.Decoder().decode


class Violation(Exception):
    """The client violates the protocol: hang up with `code`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Frame:
    """A client's frame. `refusal` says what is wrong with an invalid operation; the socket stays open."""

    kind: str
    id: str = ""
    payload: dict[str, Any] | None = None
    operation: Operation | None = None
    refusal: BadRequest | None = None


def read_frame(text: str | None) -> Frame:
    """Return the frame in `text` (None: it was binary); raises Violation."""
    if text is None:
        raise Violation(BAD_FRAME, "Send text frames.")
    limit = settings.LIMIT_WS_FRAME_BYTES
    if limit and len(text) > limit // 4 and len(text.encode(errors="replace")) > limit:
        raise Violation(BAD_FRAME, f"A frame holds at most {limit} bytes (LIMIT_WS_FRAME_BYTES).")
    try:
        value = _decode(text.removeprefix(BOM))
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise Violation(BAD_FRAME, "A frame must be valid JSON.") from error
    if not isinstance(value, dict) or value.get("type") not in TYPES:
        raise Violation(BAD_FRAME, "A frame is an object whose type is one of: " + ", ".join(TYPES))
    kind, payload = value["type"], value.get("payload")
    if payload is not None and not isinstance(payload, dict):
        raise Violation(BAD_FRAME, "'payload' must be an object.")
    if kind not in ("subscribe", "complete"):
        return Frame(kind, payload=payload)
    pk = value.get("id")
    if not isinstance(pk, str) or not 1 <= len(pk) <= ID_CHARS:
        raise Violation(BAD_FRAME, f"'id' must be a string of 1 to {ID_CHARS} characters.")
    if kind == "complete":
        return Frame(kind, pk)
    try:
        check_bounds(payload, texts=True, what="frame")
        return Frame(kind, pk, operation=Operation.read(payload or {}))
    except BadRequest as refusal:
        return Frame(kind, pk, refusal=refusal)
