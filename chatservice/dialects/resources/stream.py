"""Encodes events as the Chat Service's frames: `data: {"choices": [...]}` with an `id:`, then `data: [DONE]`. Pure."""

from __future__ import annotations

import uuid
from typing import Any

from chatservice.dialects.base import encode_json
from chatservice.dialects.empty_answers import named_reason
from chatservice.dialects.resources.errors import render
from chatservice.dialects.run_errors import problem_of_end
from completions.cursors import Cursor
from completions.sse import data_frame
from completions.types import Delta, ReaderEvent, Resync, RunFinished, StreamStarted
from conversations.finish_reasons import shown

DONE = b"data: [DONE]\n\n"


class ChoiceStream:
    """Encodes one run. Every frame's `id:` is the cursor after it."""

    def __init__(self, run_id: uuid.UUID, after: Cursor | None = None) -> None:
        self._at = after or Cursor(run_id)

    def frame(self, event: ReaderEvent) -> bytes:
        match event:
            case StreamStarted():
                return b""
            case Delta():
                self._at = Cursor(self._at.run_id, event.seq, event.end)
                return self._line(choice(event.text)) if event.text else b""
            case Resync():
                self._at = Cursor(self._at.run_id, event.seq, len(event.text))
                return b"event: resync\n" + self._line(choice(event.text))
            case RunFinished(status="complete"):
                return self._line({**choice("", shown(event.finish_reason) or "stop"), **named_reason(event)}) + DONE
            case RunFinished():
                return self._line(render(problem_of_end(event))) + DONE
        raise TypeError(event)

    def _line(self, value: Any) -> bytes:
        return data_frame(encode_json(value), event_id=str(self._at))


def choice(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    delta = {"role": "assistant", "content": text}
    return {"choices": [{"finish_reason": finish_reason, "index": 0, "delta": delta}]}
