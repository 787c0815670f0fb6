"""Events as EventSource frames: `data: <text>`, several `data:` lines for several lines of text. Pure."""

from __future__ import annotations

import uuid

from chatservice.dialects.base import encode_json
from chatservice.dialects.run_errors import problem_of_end
from completions.cursors import Cursor
from completions.types import Delta, ReaderEvent, Resync, RunFinished, StreamStarted
from conversations.empty_answers import describe

RETRY = b"retry: 1000\n"


class TokenStream:
    """Encodes one run. Every frame's `id:` is the cursor after it, which EventSource sends back when it reconnects."""

    def __init__(self, run_id: uuid.UUID, after: Cursor | None = None) -> None:
        self._at = after or Cursor(run_id)
        self._after_return = False

    def opening(self) -> bytes:
        """Return the frame before any text: with its id, even a reader cut off here comes back to this run."""
        return RETRY + _id(self._at) + b"\n"

    def frame(self, event: ReaderEvent) -> bytes:
        match event:
            case StreamStarted():
                return b""
            case Delta():
                self._at = Cursor(self._at.run_id, event.seq, event.end)
                return self._text(event.text, b"") if event.text else b""
            case Resync():
                self._at = Cursor(self._at.run_id, event.seq, len(event.text))
                return self._text(event.text, b"event: resync\n")
            case RunFinished(status="complete", empty_reason=None):
                return b""
            case RunFinished(status="complete", empty_reason=str(reason)):
                return self._closing(b"empty", reason, describe(reason, event.finish_reason))
            case RunFinished():
                problem = problem_of_end(event)
                return self._closing(b"error", problem.code, problem.message)
        raise TypeError(event)

    def _text(self, text: str, name: bytes) -> bytes:
        # A "\r\n" split across two chunks is still one line end.
        if self._after_return and text.startswith("\n"):
            text = text[1:]
        self._after_return = text.endswith("\r")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        # Readers remove one space after the colon: the one added here, so the text keeps its own.
        data = b"".join([b"data: " + line.encode("utf-8", "replace") + b"\n" for line in lines])
        return name + _id(self._at) + data + b"\n"

    def _closing(self, name: bytes, code: str, message: str) -> bytes:
        payload = encode_json({"code": code, "message": message})
        # A position past the text: a reader that returns with it has already seen how it ended.
        seen = Cursor(self._at.run_id, self._at.seq + 1, self._at.end)
        return b"event: " + name + b"\n" + _id(seen) + b"data: " + payload + b"\n\n"


def _id(cursor: Cursor) -> bytes:
    return b"id: " + str(cursor).encode() + b"\n"
