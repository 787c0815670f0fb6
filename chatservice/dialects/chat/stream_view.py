"""`GET .../stream`: the answer as a stream for EventSource, which reconnects by itself."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema

from accounts.callers import Principal
from accounts.scopes import Scope
from accounts.throttling import Rate
from chatservice.dialects.base import count_read, count_run, problem_response
from chatservice.dialects.chat.documentation import CONVERSATION_ID, EVENTS, errors
from chatservice.dialects.chat.errors import render
from chatservice.dialects.chat.stream import TokenStream
from chatservice.dialects.chat.views import ChatView, refuse_speculation
from chatservice.dialects.idempotency import KEY, key_of, route_of
from chatservice.dialects.leaving import ON_DISCONNECT, Leaving, read_leaving
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.run_errors import problem_of_end
from chatservice.dialects.run_requests import make_run_request, resolve_model
from chatservice.dialects.run_responses import follow, name_run, tell_rates
from completions import sse
from completions.cursors import Cursor
from completions.models import Chunk, Run
from completions.pending import answer
from completions.stream_limits import acquire_stream
from conversations.lookup import conversation_of
from foundation.database import in_database_thread

MODEL = {"type": "string", "minLength": 1, "maxLength": 200}


@dataclass(frozen=True, slots=True)
class _Reading:
    """What to read: run `run_id` after a cursor; or, if there is none and not `done`, the pending question's answer."""

    conversation_id: uuid.UUID
    run_id: uuid.UUID | None = None
    after: Cursor | None = None
    done: bool = False


class StreamView(ChatView):
    scopes = {"GET": Scope.GENERATE}
    starts_runs = frozenset({"GET"})

    @extend_schema(
        operation_id="stream_answer",
        summary="Stream the answer to the last message",
        description=(
            "Answers the last message that has no answer, or joins the answer that is being written. `204` when "
            "there is nothing to answer, which makes EventSource stop reconnecting. If the answer fails before its "
            "first token, the response has the status of the error; after that, an `error` event ends the stream. An "
            "answer without text ends with an `empty` event: `code` is refusal, reasoning_only or empty."
        ),
        parameters=[
            CONVERSATION_ID,
            OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER, description="resume after this frame"),
            OpenApiParameter("after", str, description="same as Last-Event-ID, for clients that cannot set headers"),
            OpenApiParameter(
                "Idempotency-Key",
                KEY,
                OpenApiParameter.HEADER,
                description="requests with the same key get the same run",
            ),
            OpenApiParameter("client_message_id", KEY, description="same as Idempotency-Key, for EventSource"),
            OpenApiParameter("model", MODEL, description="which model answers; the configured one by default"),
            ON_DISCONNECT,
        ],
        responses={
            **EVENTS,
            204: None,
            **errors(400, 401, 403, 404, 409, 422, 502, 503, 504),
        },
    )
    async def get(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponseBase:
        refuse_speculation(request)
        cursor_text = request.headers.get("last-event-id") or request.GET.get("after")
        cursor = Cursor.parse(cursor_text) if cursor_text else None
        model = _model(request)
        key = key_of(request, request.GET.get("client_message_id"))
        leaving = read_leaving(request, "chat", keyed=bool(key or cursor))
        reading = await in_database_thread(_find, principal, conversation_id, cursor)
        if reading.done or reading.run_id is not None:
            await count_read(principal)
        if reading.done:
            return HttpResponse(status=204)
        release = acquire_stream(principal)
        streaming = False
        rates: tuple[Rate, ...] = ()
        try:
            if reading.run_id is None:
                run_request = make_run_request(
                    principal,
                    model=model,
                    key=key,
                    identity=("chat", route_of(request), model),
                    conversation_id=reading.conversation_id,
                )
                # An answer that broke off is not generated again: EventSource repeats the request without being asked
                # to.
                answering = await answer(run_request, follow_any=True, again=False)
                await count_run(principal, joined=answering is None or answering.joined)
                if answering is None:
                    return HttpResponse(status=204)
                reading, rates = _Reading(reading.conversation_id, answering.run_id), answering.rates
            response = await _streamed(principal, reading, leaving, release)
            tell_rates(response, rates)
            streaming = response.streaming
            return response
        finally:
            if not streaming:
                release()


def _model(request: HttpRequest) -> str:
    model = request.GET.get("model", "default")
    if not model or len(model) > 200 or not model.isprintable():
        raise BadRequest("'model' must be the name of a model.", param="model")
    return resolve_model(model)


def _find(principal: Principal, conversation_id: str, cursor: Cursor | None) -> _Reading:
    """Return what a reader with this cursor still has to read; raises if the conversation is somebody else's."""
    conversation = conversation_of(principal, conversation_id)
    if cursor is None:
        return _Reading(conversation.pk)
    run = Run.objects.select_related("message").filter(pk=cursor.run_id, conversation=conversation).first()
    if run is None:
        raise Http404
    if not run.is_over or _missed(run, cursor):
        return _Reading(conversation.pk, run.pk, cursor)
    # A reader that returns after the end does not ask for a new answer: it must not be billed twice.
    return _Reading(conversation.pk, done=run.message_id == conversation.head_id)


def _missed(run: Run, cursor: Cursor) -> bool:
    """Tell whether a run that is over sent anything after `cursor`, including its error or why it is empty."""
    content = run.message.streamed_text() if run.message else ""
    if cursor.end < len(content):
        return True
    if run.state == Run.State.COMPLETE and (run.message is None or run.message.empty_reason is None):
        return False
    last = Chunk.objects.filter(run=run).order_by("-seq").values_list("seq", flat=True).first()
    if last is None and content:
        return False  # the chunks were deleted long ago, and this reader's stream ended before that
    return cursor.seq <= (last or 0)


async def _streamed(
    principal: Principal, reading: _Reading, leaving: Leaving, release: Callable[[], None]
) -> HttpResponseBase:
    assert reading.run_id is not None
    failed, events, when_left = await follow(reading.run_id, leaving, reader=principal, after=reading.after)
    if failed is not None and reading.after is None:
        return problem_response(problem_of_end(failed), render)
    wire = TokenStream(reading.run_id, reading.after)
    frames = _opened(wire, sse.encode(events, wire.frame))
    response = sse.event_stream(frames, on_close=release, when_left=when_left)
    name_run(response, reading.run_id)
    return response


async def _opened(wire: TokenStream, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield wire.opening()
    async for frame in frames:
        yield frame
