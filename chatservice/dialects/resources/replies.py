"""Waiting for an answer, or following it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from django.http import HttpResponse, HttpResponseBase

from accounts.database import in_database_thread
from chatservice.dialects.base import json_response, problem_response
from chatservice.dialects.endings import problem_of_end
from chatservice.dialects.resources.errors import render
from chatservice.dialects.resources.stream import ChoiceStream
from completions import sse
from completions.answering import Answering
from completions.cursors import Cursor
from completions.readers import subscribe, wait_for_end
from completions.types import Ended, Quiet, ReaderEvent
from conversations.models import Message


async def whole(answering: Answering, shape: Callable[[str, str], Any]) -> HttpResponse:
    """Wait for the answer and return `shape(content, finish reason)`, or the problem there was."""
    ended = await wait_for_end(answering.run_id)
    if ended.status != "complete":
        return problem_response(problem_of_end(ended), render)
    content = await in_database_thread(_content_of, answering.message_id)
    return json_response(shape(content, ended.finish_reason or "stop"))


async def streamed(run_id: uuid.UUID, after: Cursor | None, release: Callable[[], None]) -> HttpResponseBase:
    """Follow a run; one that failed before it said anything has the error's own status instead."""
    events = subscribe(run_id, after=after, idle=sse.idle_seconds())
    first = await anext(events)
    if isinstance(first, Ended) and first.status != "complete" and after is None:
        return problem_response(problem_of_end(first), render)
    frames = sse.encode(_chain(first, events), ChoiceStream(run_id, after).frame)
    return sse.event_stream(frames, headers={}, on_close=release)


def _content_of(message_id: uuid.UUID | None) -> str:
    return Message.objects.values_list("content", flat=True).get(pk=message_id)


async def _chain(
    first: ReaderEvent | Quiet, rest: AsyncIterator[ReaderEvent | Quiet]
) -> AsyncIterator[ReaderEvent | Quiet]:
    yield first
    if not isinstance(first, Ended):
        async for event in rest:
            yield event
