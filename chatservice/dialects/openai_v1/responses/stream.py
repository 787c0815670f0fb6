"""Encodes the events of a run as those of a response stream. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chatservice.dialects.base import encode_json
from chatservice.dialects.openai_v1.errors import type_of
from chatservice.dialects.openai_v1.responses.canonical import canonical
from chatservice.dialects.openai_v1.responses.output import Output
from chatservice.dialects.openai_v1.responses.parameters import LOGPROBS
from chatservice.dialects.openai_v1.responses.shapes import Head, response_object
from chatservice.dialects.openai_v1.responses.statuses import EVENTS, status_of
from chatservice.dialects.openai_v1.responses.tools import read_tools
from chatservice.dialects.run_errors import problem_of_end
from completions.types import Delta, ReaderEvent, RunFinished

# These ends are the reader's, not the answer's: the response itself goes on, or is gone.
NOT_THE_END = frozenset({"storage_unavailable", "deleted", "answer_not_kept"})


class ResponseEvents:
    """Collects the events of one response, numbered from 0, and what its output is so far."""

    def __init__(self, head: Head) -> None:
        self.head = replace(head, echo=canonical(head.echo))
        self.finished: RunFinished | None = None
        self.status = ""
        """How the response ended; empty until it has."""
        self._number = 0
        self._new: list[dict[str, Any]] = []
        self._output = Output(
            head.message_id,
            self._emit,
            logprobs=LOGPROBS in (head.echo.get("include") or ()),
            tools=read_tools(head.echo.get("tools") or ()),
        )
        self._begin()

    def take(self) -> list[dict[str, Any]]:
        """Return the events since the last call."""
        taken, self._new = self._new, []
        return taken

    def feed(self, event: ReaderEvent) -> list[dict[str, Any]]:
        """Return what this event adds, with the first events before it."""
        self.collect(event)
        return self.take()

    def collect(self, event: ReaderEvent) -> None:
        """Add an event, for a later `take`."""
        if isinstance(event, Delta):
            self._output.feed(event)
        elif isinstance(event, RunFinished):
            self._finish(event)

    def response(self, status: str) -> dict[str, Any]:
        """Return the response as it is now."""
        return response_object(self.head, status, output=self._output.items, finished=self.finished)

    def _begin(self) -> None:
        first = "queued" if self.head.is_background else "in_progress"
        self._emit("response.created", response=response_object(self.head, first))
        if self.head.is_background:
            self._emit("response.queued", response=response_object(self.head, first))
        self._emit("response.in_progress", response=response_object(self.head, "in_progress"))

    def _finish(self, finished: RunFinished) -> None:
        if is_readers_end(finished):
            problem = problem_of_end(finished)
            error = {"code": problem.code, "message": problem.message, "param": problem.param}
            # Flat as OpenAI's document has it, and nested as the Open Responses specification has it.
            self._emit("error", **error, error={"type": type_of(problem.status), **error})
            return
        self._output.feed(Delta("", finished.wire))  # the chunk with the reason of the end may say something, too
        self.finished = finished
        self.status = status_of(finished)
        self._output.close("completed" if self.status == "completed" else "incomplete")
        self._emit(EVENTS[self.status], response=self.response(self.status))

    def _emit(self, kind: str, **fields: Any) -> None:
        self._new.append({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1


def is_readers_end(finished: RunFinished) -> bool:
    """Tell whether only the reading ended: the credential was revoked, the store is away, the answer was deleted."""
    return finished.error_code in NOT_THE_END or (finished.finished_at is None and finished.http_status in (401, 403))


def frame(event: dict[str, Any]) -> bytes:
    """Return one server-sent event, without an id: clients resume by `sequence_number`."""
    kind: str = event["type"]
    return b"event: " + kind.encode() + b"\ndata: " + encode_json(event) + b"\n\n"
