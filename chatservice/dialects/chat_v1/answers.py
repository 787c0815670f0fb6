"""Asking, and showing the answer: whole, or as it comes."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from accounts.database import in_database_thread
from accounts.principal import Principal
from chatservice.dialects.base import json_response, problem_response
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.errors import render
from chatservice.dialects.chat_v1.serializers import MessageSerializer
from chatservice.dialects.chat_v1.stream import EventStream
from chatservice.dialects.endings import problem_of_end
from chatservice.dialects.problems import problem_of
from completions import services, sse
from completions.asks import Ask
from completions.cursors import Cursor
from completions.models import Run
from completions.readers import subscribe, wait_for_end
from completions.slots import take_stream_slot
from completions.types import Delta, Ended, Quiet, Resync
from conversations.models import Message

# Statuses of an answer that is over as its user wished.
ENDED_WELL = frozenset({str(Message.Status.COMPLETE), str(Message.Status.CANCELLED)})


async def whole(question: Ask, *, shown: slice | int) -> HttpResponse:
    """Ask, wait, and answer 201 with that part of [question, answer]; the upstream's failure is the answer's."""
    accepted = await services.ask(question)
    ended = await wait_for_end(accepted.run_id)
    if ended.status in ENDED_WELL:
        messages = await in_database_thread(_messages_of, accepted.run_id, ended)
        response = json_response(envelope(messages[shown], message="Message created successfully"), 201)
    else:
        response = problem_response(problem_of_end(ended), render)
    _name(response, accepted.run_id, accepted.conversation_id, accepted.message_id)
    return response


async def streamed(request: HttpRequest, principal: Principal, question: Ask, *, opening: str = "") -> HttpResponseBase:
    """Ask and answer with a stream. `opening` names the event that shows the saved question."""
    release = take_stream_slot(principal)
    try:
        accepted = await services.ask(question)
        run_id = accepted.run_id
        return await _stream(request, run_id, release, opening=opening)
    except BaseException:
        release()
        raise


async def resumed(
    request: HttpRequest, principal: Principal, run_id: uuid.UUID, after: Cursor | None
) -> HttpResponseBase:
    """Continue a stream after a cursor, or from its beginning."""
    release = take_stream_slot(principal)
    try:
        return await _stream(request, run_id, release, opening="" if after else "user_message", after=after)
    except BaseException:
        release()
        raise


async def _stream(
    request: HttpRequest,
    run_id: uuid.UUID,
    release: Callable[[], None],
    *,
    opening: str,
    after: Cursor | None = None,
) -> HttpResponseBase:
    run, question = await in_database_thread(_opening_of, run_id)
    wire = EventStream(run_id, after)
    first = b""
    # An answer given again has a question that is older than its run, and that its client knows.
    if opening and question is not None:
        first = getattr(wire, opening)(question)
    frames = _frames(wire, first, run_id, after)
    if request.headers.get("x-on-disconnect", "").lower() == "cancel":
        frames = sse.cancel_when_left(frames, run_id)
    response = sse.event_stream(frames, headers={}, on_close=release)
    _name(response, run_id, run.conversation_id, run.message_id)
    return response


async def _frames(wire: EventStream, first: bytes, run_id: uuid.UUID, after: Cursor | None) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for event in subscribe(run_id, after=after, idle=sse.idle_seconds()):
        match event:
            case Delta():
                if frame := wire.ai_chunk(event):
                    yield frame
            case Resync():
                yield wire.resync(event)
            case Quiet():
                yield sse.COMMENT
            case Ended():
                yield await _closing(wire, event, run_id)


async def _closing(wire: EventStream, ended: Ended, run_id: uuid.UUID) -> bytes:
    """Return the one terminal event, with the answer as it is stored by now."""
    if ended.status not in ENDED_WELL:
        return wire.error(problem_of_end(ended))
    try:
        messages = await in_database_thread(_messages_of, run_id, ended)
    except Exception as error:
        # The headers are long gone: this stream can only say it.
        return wire.error(problem_of(error))
    return wire.ai_complete(messages[-1])


def _messages_of(run_id: uuid.UUID, ended: Ended) -> list[dict[str, Any]]:
    """Return question, if there is one, and answer of a run; the latter with what was recalled for it."""
    message = Message.objects.select_related("parent").get(run=run_id)
    messages = [represent(each) for each in (message.parent, message) if each is not None]
    if ended.recalled is not None:
        messages[-1]["recalled"] = ended.recalled
    return messages


def _opening_of(run_id: uuid.UUID) -> tuple[Run, dict[str, Any] | None]:
    """Return a run, and the question that was stored together with it."""
    # Without the answer's text: the stream has it.
    run = Run.objects.select_related("message__parent").defer("message__content").filter(pk=run_id).first()
    if run is None:
        raise Run.DoesNotExist
    question = run.message.parent if run.message is not None else None
    asked_now = question is not None and question.created_at == run.created_at
    return run, represent(question) if question is not None and asked_now else None


def represent(message: Message) -> dict[str, Any]:
    return dict(MessageSerializer(message).data)


def _name(response: HttpResponseBase, run_id: uuid.UUID, conversation_id: Any, message_id: Any) -> None:
    response.headers["X-Run-Id"] = str(run_id)
    if conversation_id is not None:
        response.headers["X-Conversation-Id"] = str(conversation_id)
    if message_id is not None:
        response.headers["X-Message-Id"] = str(message_id)
