"""What all HTTP responses about a run share: the headers that identify it, and how a stream begins."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Sequence

from django.http import HttpResponseBase

from accounts.callers import Principal
from accounts.throttling import MINUTE, Rate
from chatservice.dialects.leaving import Leaving
from completions import sse
from completions.cursors import Cursor
from completions.readers import Events, subscribe
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


def tell_rates(response: HttpResponseBase, rates: Sequence[Rate]) -> None:
    """Add the headers that tell what is left of the caller's limits a minute, as the IETF's draft 10 writes them."""
    if rates:
        policies = [f'"{rate.unit}";q={rate.limit};w={MINUTE}' for rate in rates]
        response.headers["RateLimit-Policy"] = ", ".join(policies)
        left = [f'"{rate.unit}";r={rate.remaining};t={rate.seconds_left}' for rate in rates]
        response.headers["RateLimit"] = ", ".join(left)


async def follow(
    run_id: uuid.UUID, leaving: Leaving, *, reader: Principal, after: Cursor | None = None, merged: bool = True
) -> tuple[RunFinished | None, AsyncIterator[Event], Callable[[], object] | None]:
    """Subscribe to a run, and wait for its first event.

    Return the end of a run that failed before any text, or None; all its events, including the first; and what to call
    if their reader leaves. `merged` is that of `subscribe`.
    """

    async def begin() -> tuple[Events, Event]:
        events = subscribe(run_id, reader=reader, after=after, idle=sse.idle_seconds(), merged=merged)
        return events, await anext(events)

    events, first = await leaving.wait(run_id, begin)
    failed = first if isinstance(first, RunFinished) and first.status != "complete" else None
    return failed, _with_first(first, events), leaving.when_left(run_id, events)


async def _with_first(first: Event, rest: Events) -> AsyncIterator[Event]:
    yield first
    if not isinstance(first, RunFinished):
        async for event in rest:
            yield event
