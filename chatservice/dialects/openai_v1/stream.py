"""Encodes events as OpenAI's stream: `data:` lines of chunks, then `data: [DONE]`. Pure; it never sends an `id:`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from chatservice.dialects.base import encode_json
from chatservice.dialects.empty_answers import named_reason
from chatservice.dialects.openai_v1.cost import with_cost
from chatservice.dialects.openai_v1.errors import render
from chatservice.dialects.openai_v1.ids import completion_id
from chatservice.dialects.run_errors import problem_of_end
from completions.types import Delta, ReaderEvent, Resync, RunFinished, StreamStarted, Wire, plain_chunk
from conversations.finish_reasons import MISSING, shown

DONE = b"data: [DONE]\n\n"
CHUNK = "chat.completion.chunk"


class ChunkStream:
    """Encodes one run. `include_usage` is the client's `stream_options.include_usage`.

    `include_cost` is its `usage.include`. The id of one that `is_stored` is our own, by which it can be read again; of
    any other it is the upstream's.
    """

    def __init__(
        self,
        *,
        run_id: uuid.UUID,
        created: int,
        model: str,
        include_usage: bool,
        is_stored: bool,
        include_cost: bool = False,
    ) -> None:
        self._base: dict[str, Any] = {
            "id": completion_id(run_id),
            "object": CHUNK,
            "created": created,
            "model": model,
        }
        self._own = {"id": completion_id(run_id), "object": CHUNK} if is_stored else {"object": CHUNK}
        self._include_usage = include_usage
        self._include_cost = include_cost
        self._begun = False

    def frame(self, event: ReaderEvent) -> bytes:
        match event:
            case Delta():
                if not event.wire:
                    return self._begin() + self._line(plain_chunk(event.text))
                return self._begin() + b"".join([self._line(chunk) for chunk in event.wire])
            case StreamStarted():
                self._base.update(event.envelope)
                return b""
            case Resync():
                return self._begin() + self._line(plain_chunk(event.text))
            case RunFinished(status="complete"):
                return self._begin() + self._closing(event) + DONE
            case RunFinished():
                return self._error(event) + DONE
        raise TypeError(event)

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        delta = {"role": "assistant", "content": ""}
        line = self._line({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        self._begun = True
        return line

    def _closing(self, finished: RunFinished) -> bytes:
        if finished.recalled is not None:
            self._base["recalled"] = finished.recalled
        self._base |= named_reason(finished)
        lines = []
        for chunk in finished.wire:
            if chunk.get("choices"):
                lines.append(self._line(chunk))
            elif self._include_usage:
                lines.append(self._line(chunk, usage=self._usage(chunk.get("usage") or finished.usage, finished)))
        if not any(chunk.get("choices") for chunk in finished.wire):
            finish = {"index": 0, "delta": {}, "finish_reason": shown(finished.finish_reason) or "stop"}
            lines.insert(0, self._line({"choices": [finish]}))
        is_told = any(not chunk.get("choices") for chunk in finished.wire)
        if self._include_usage and not is_told and (usage := self._usage(finished.usage, finished)):
            lines.append(self._line({"choices": []}, usage=usage))
        return b"".join(lines)

    def _usage(self, usage: Any, finished: RunFinished) -> Any:
        return with_cost(usage, finished) if self._include_cost else usage

    def _line(self, chunk: Wire, usage: Any = None) -> bytes:
        """Return the line of one chunk in the envelope, whose fields its own override, except those that are ours."""
        whole = {**self._base, **chunk, **self._own}
        if self._include_usage:
            whole["usage"] = usage
        elif chunk.get("choices"):
            whole.pop("usage", None)
        whole["choices"] = [_addable(choice, self._begun) for choice in chunk.get("choices") or ()]
        return b"data: " + encode_json(whole) + b"\n\n"

    def _error(self, finished: RunFinished) -> bytes:
        return b"data: " + encode_json(render(problem_of_end(finished))) + b"\n\n"


def _addable(choice: Mapping[str, Any], begun: bool) -> Mapping[str, Any]:
    """Return a choice that the document's clients can add to those before it.

    A delta with neither content nor tool calls gets an empty `content`, because they expect one. A role is not
    repeated, because they would join the two, and a missing finish reason becomes one that they know.
    """
    delta = choice.get("delta")
    if isinstance(delta, dict):
        if begun and delta.get("role") and not choice.get("index"):
            delta = {name: value for name, value in delta.items() if name != "role"}
        if "content" not in delta and not delta.get("tool_calls"):
            delta = {**delta, "content": ""}
        choice = {**choice, "delta": delta}
    if choice.get("finish_reason") == MISSING:
        choice = {**choice, "finish_reason": shown(MISSING)}
    return choice
