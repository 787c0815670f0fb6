"""Responses that contain an answer: whole, or as a stream."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from accounts.callers import Principal
from chatservice.dialects.attached_files import attached_files
from chatservice.dialects.base import json_response, problem_response
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.errors import render
from chatservice.dialects.chat_v1.serializers import MessageSerializer
from chatservice.dialects.chat_v1.stream import EventStream
from chatservice.dialects.costs import cost_of
from chatservice.dialects.leaving import Leaving, read_leaving
from chatservice.dialects.problems import problem_of
from chatservice.dialects.run_errors import problem_of_end
from chatservice.dialects.run_requests import submit
from chatservice.dialects.run_responses import name_run, tell_rates
from completions import sse
from completions.cursors import Cursor
from completions.models import Run
from completions.readers import subscribe, wait_for_end
from completions.run_requests import RunHandle, RunRequest, WhenBusy
from completions.stream_limits import acquire_stream
from completions.types import FINISHED_WELL, Delta, Heartbeat, ReaderEvent, Resync, RunFinished
from conversations.models import Message
from feedback.services import feedback_on
from foundation.database import in_database_thread


async def whole(request: HttpRequest, question: RunRequest, *, shown: slice | int) -> HttpResponse:
    """Generate the answer and return 201 with the `shown` part of [question, answer], or the upstream's failure.

    If the request asked to be queued and its run has to wait, return 202 with the run at once.
    """
    leaving = read_leaving(request, "chat_v1", keyed=bool(question.idempotency_key))
    handle = await submit(question)
    if handle.queued and question.when_busy == WhenBusy.QUEUE:
        response = json_response(envelope(_queued(handle), message="Message queued"), 202)
        name_run(response, handle.run_id, handle.conversation_id, handle.message_id)
        tell_rates(response, handle.rates)
        return response
    finished = await leaving.wait(handle.run_id, lambda: wait_for_end(handle.run_id))
    if finished.status in FINISHED_WELL:
        messages = await in_database_thread(_messages_of, handle.run_id, finished)
        response = json_response(envelope(messages[shown], message="Message created successfully"), 201)
    else:
        response = problem_response(problem_of_end(finished), render)
    name_run(response, handle.run_id, handle.conversation_id, handle.message_id)
    tell_rates(response, handle.rates)
    return response


def _queued(handle: RunHandle) -> dict[str, Any]:
    return {
        "id": handle.run_id,
        "status": "queued",
        "conversation_id": handle.conversation_id,
        "message_id": handle.message_id,
        "question_id": handle.question_id,
    }


async def streamed(
    request: HttpRequest, principal: Principal, question: RunRequest, *, opening: str = ""
) -> HttpResponseBase:
    """Generate and stream the answer. `opening` names the event that contains the stored question."""
    leaving = read_leaving(request, "chat_v1", keyed=bool(question.idempotency_key))
    release = acquire_stream(principal)
    try:
        handle = await submit(question)
        response = await _stream(leaving, principal, handle.run_id, release, opening=opening)
    except BaseException:
        release()
        raise
    tell_rates(response, handle.rates)
    return response


async def resumed(
    request: HttpRequest, principal: Principal, run_id: uuid.UUID, after: Cursor | None
) -> HttpResponseBase:
    """Resume a stream after a cursor, or from the beginning."""
    leaving = read_leaving(request, "chat_v1", keyed=True)
    release = acquire_stream(principal)
    try:
        return await _stream(
            leaving, principal, run_id, release, opening="" if after else "user_message", after=after, again=True
        )
    except BaseException:
        release()
        raise


async def _stream(
    leaving: Leaving,
    principal: Principal,
    run_id: uuid.UUID,
    release: Callable[[], None],
    *,
    opening: str,
    after: Cursor | None = None,
    again: bool = False,
) -> HttpResponseBase:
    run, question = await in_database_thread(_opening_of, run_id, again)
    wire = EventStream(run_id, after)
    first = b""
    # A regenerated answer has no new question: its client knows the question already.
    if opening and question is not None:
        first = getattr(wire, opening)(question)
    events = subscribe(run_id, reader=principal, after=after, idle=sse.idle_seconds())
    when_left = leaving.when_left(run_id, events)
    response = sse.event_stream(_frames(wire, first, events, run_id), on_close=release, when_left=when_left)
    name_run(response, run_id, run.conversation_id, run.message_id)
    return response


async def _frames(
    wire: EventStream,
    first: bytes,
    events: AsyncIterator[ReaderEvent | Heartbeat],
    run_id: uuid.UUID,
) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for event in events:
        match event:
            case Delta():
                if frame := wire.ai_chunk(event):
                    yield frame
            case Resync():
                yield wire.resync(event)
            case Heartbeat():
                yield sse.COMMENT
            case RunFinished():
                yield await _closing(wire, event, run_id)


async def _closing(wire: EventStream, finished: RunFinished, run_id: uuid.UUID) -> bytes:
    """Return the one terminal event, with the answer as stored."""
    if finished.status not in FINISHED_WELL:
        return wire.error(problem_of_end(finished))
    try:
        messages = await in_database_thread(_messages_of, run_id, finished)
    except Exception as error:
        # The headers are already sent: only the stream can carry the error.
        return wire.error(problem_of(error))
    return wire.ai_complete(messages[-1])


def _messages_of(run_id: uuid.UUID, finished: RunFinished) -> list[dict[str, Any]]:
    """Return the question of a run, if there is one, and its answer, with the messages recalled for it."""
    message = Message.objects.select_related("parent").get(run=run_id)
    messages = represent([each for each in (message.parent, message) if each is not None])
    if finished.recalled is not None:
        messages[-1]["recalled"] = finished.recalled
    return [*messages[:-1], {**messages[-1], **cost_of(finished)}]


def _opening_of(run_id: uuid.UUID, again: bool) -> tuple[Run, dict[str, Any] | None]:
    """Return a run and its question; `again`: only if the question was stored with it."""
    # The text of the answer is not read: the stream sends it.
    run = Run.objects.select_related("message__parent").defer("message__content").filter(pk=run_id).first()
    if run is None:
        raise Run.DoesNotExist
    question = run.message.parent if run.message is not None else None
    if question is None or (again and question.created_at != run.created_at):
        return run, None
    return run, represent([question])[0]


def represent(messages: Sequence[Message], *, reader: Principal | None = None) -> list[dict[str, Any]]:
    """Return messages as this API shows them, with their files and, for a `reader`, the feedback that they gave."""
    given = feedback_on(reader, messages) if reader else {}
    for message in messages:
        if message.pk in given:
            message.feedback = given[message.pk]  # type: ignore[attr-defined]  # what the serializer shows
    shapes = MessageSerializer(messages, many=True, context={"files": attached_files(messages)})
    return [dict(shape) for shape in shapes.data]
