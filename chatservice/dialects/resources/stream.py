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
from conversations.reasoning import reasoning_in

DONE = b"data: [DONE]\n\n"


class ChoiceStream:
    """Encodes one run, with `reasoning` what the model thinks, too. Every frame's `id:` is the cursor after it."""

    def __init__(self, run_id: uuid.UUID, after: Cursor | None = None, *, reasoning: bool = False) -> None:
        self._at = after or Cursor(run_id)
        self._reasoning = reasoning

    def frame(self, event: ReaderEvent) -> bytes:
        match event:
            case StreamStarted():
                return b""
            case Delta():
                before, self._at = self._at, Cursor(self._at.run_id, event.seq, event.end)
                text = self._line(choice(event.text)) if event.text else b""
                thought = reasoning_in(event.wire) if self._reasoning else ""
                # Text of the same delta is still to come after it.
                return (
                    data_frame(_thought(thought), event_id=str(before if text else self._at)) + text
                    if thought
                    else text
                )
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


def _thought(text: str) -> bytes:
    delta = {"role": "assistant", "reasoning": text}
    return encode_json({"choices": [{"finish_reason": None, "index": 0, "delta": delta}]})


def choice(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    delta = {"role": "assistant", "content": text}
    return {"choices": [{"finish_reason": finish_reason, "index": 0, "delta": delta}]}
