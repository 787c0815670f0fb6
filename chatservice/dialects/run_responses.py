"""What all HTTP responses about a run share: the headers that identify it, and how a stream begins."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

from django.http import HttpResponseBase

from completions.types import Heartbeat, ReaderEvent, RunFinished

Event = ReaderEvent | Heartbeat


def name_run(
    response: HttpResponseBase,
    run_id: uuid.UUID,
    conversation_id: uuid.UUID | None = None,
    message_id: uuid.UUID | None = None,
) -> None:
    """Add the headers with the ids of the run, conversation and message of a response."""
    named = {"X-Run-Id": run_id, "X-Conversation-Id": conversation_id, "X-Message-Id": message_id}
    for name, value in named.items():
        if value is not None:
            response.headers[name] = str(value)


async def peek(events: AsyncIterator[Event]) -> tuple[RunFinished | None, AsyncIterator[Event]]:
    """Return the end of a run that failed before any text, or None; and all its events, including the first."""
    first = await anext(events)
    failed = isinstance(first, RunFinished) and first.status != "complete"
    return (first if failed else None), _with_first(first, events)  # type: ignore[return-value]


async def _with_first(first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[Event]:
    yield first
    if not isinstance(first, RunFinished):
        async for event in rest:
            yield event
