"""Responses that contain an answer: whole, or as a stream."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.http import HttpResponse, HttpResponseBase

from accounts.callers import Principal
from chatservice.dialects.base import json_response, problem_response
from chatservice.dialects.costs import add_cost_header
from chatservice.dialects.empty_answers import named_reason
from chatservice.dialects.leaving import Leaving
from chatservice.dialects.resources.errors import render
from chatservice.dialects.resources.stream import ChoiceStream
from chatservice.dialects.run_errors import problem_of_end
from chatservice.dialects.run_responses import follow
from completions import sse
from completions.cursors import Cursor
from completions.pending import AnsweringRun
from completions.readers import wait_for_end
from completions.run_requests import RunHandle
from conversations.finish_reasons import shown
from conversations.models import Message
from foundation.database import in_database_thread


async def whole(
    run: RunHandle | AnsweringRun, leaving: Leaving, shape: Callable[[str, str], dict[str, Any]]
) -> HttpResponse:
    """Wait for the answer and return `shape(content, finish reason)`, or an error response.

    For an answer without text, the response also has the field `empty_reason`.
    """
    finished = await leaving.wait(run.run_id, lambda: wait_for_end(run.run_id))
    if finished.status != "complete":
        return problem_response(problem_of_end(finished), render)
    content = await in_database_thread(_content_of, run.message_id)
    answer = shape(content, shown(finished.finish_reason) or "stop")
    response = json_response({**answer, **named_reason(finished)})
    add_cost_header(response, finished)
    return response


async def streamed(
    principal: Principal,
    run_id: uuid.UUID,
    after: Cursor | None,
    leaving: Leaving,
    release: Callable[[], None],
    *,
    reasoning: bool = False,
) -> HttpResponseBase:
    """Stream a run, with `reasoning` what the model thinks, too.

    If it fails before its first token, return an error response instead.
    """
    failed, events, when_left = await follow(run_id, leaving, reader=principal, after=after)
    if failed is not None and after is None:
        return problem_response(problem_of_end(failed), render)
    frames = sse.encode(events, ChoiceStream(run_id, after, reasoning=reasoning).frame)
    return sse.event_stream(frames, on_close=release, when_left=when_left)


def _content_of(message_id: uuid.UUID | None) -> str:
    contents = Message.objects.values_list("content", flat=True)
    return contents.get(pk=message_id)  # type: ignore[misc]  # None is not found
