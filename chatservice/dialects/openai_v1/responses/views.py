"""The endpoints of the Responses API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.costs import add_cost_header
from chatservice.dialects.idempotency import KEY, idempotency_key
from chatservice.dialects.json_body import read_object
from chatservice.dialects.leaving import ON_DISCONNECT, Leaving, read_leaving
from chatservice.dialects.openai_v1.ids import response_id as id_of
from chatservice.dialects.openai_v1.pages import page_of
from chatservice.dialects.openai_v1.reference import STREAM, STREAM_HELP, operation, schema
from chatservice.dialects.openai_v1.responses import reading
from chatservice.dialects.openai_v1.responses.asking import run_request
from chatservice.dialects.openai_v1.responses.request_parsing import read_request
from chatservice.dialects.openai_v1.responses.shapes import Head
from chatservice.dialects.openai_v1.responses.stream import ResponseEvents, frame
from chatservice.dialects.openai_v1.stream import DONE
from chatservice.dialects.openai_v1.views import CONTENT_LIMIT, ERRORS, OpenAIView, failure, tell_rates
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.run_requests import stop, submit
from chatservice.dialects.run_responses import Event, follow, name_run
from completions import sse
from completions.context import estimate_tokens
from completions.models import Run
from completions.readers import subscribe
from completions.run_requests import RunHandle
from completions.stored_answers import delete_stored
from completions.stream_limits import acquire_stream
from completions.types import Heartbeat, RunFinished
from foundation.database import in_database_thread

PATIENCE = 5.0  # how many seconds to wait for a cancelled response to end
EXAMPLE = {"model": "default", "input": "Hello"}
EVENTS = OpenApiResponse(schema("ResponseStreamEvent"), description=STREAM_HELP)
DELETED = OpenApiResponse(
    {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "object": {"type": "string", "enum": ["response"]},
            "deleted": {"type": "boolean"},
        },
        "required": ["id", "object", "deleted"],
    }
)


class ResponsesView(OpenAIView):
    scopes = {"POST": Scope.GENERATE}
    body_limit = CONTENT_LIMIT

    starts_runs = frozenset({"POST"})

    @extend_schema(
        summary="Create a response, streamed or not, now or in the background",
        examples=[OpenApiExample("not streamed", EXAMPLE, request_only=True)],
        **operation(
            "POST /responses",
            parameters=[OpenApiParameter("Idempotency-Key", KEY, OpenApiParameter.HEADER), ON_DISCONNECT],
            errors=ERRORS,
        ),
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponseBase:
        body = read_object(request)
        await asyncio.sleep(0)  # as for chat completions: large bodies are read and checked in two steps
        asked = read_request(body)
        key = idempotency_key(request.headers.get("idempotency-key"))
        made = await run_request(asked, principal, key=key)
        # Whoever stores a response can come back for it, so it goes on; of any other nobody would hear again.
        leaving = read_leaving(request, "openai_v1", keyed=made.store or bool(key))
        is_streamed = bool(body.get("stream"))
        release = acquire_stream(principal) if is_streamed else None
        try:
            handle = await submit(made)
            events = ResponseEvents(head_of(handle))
            if release is not None:
                response = await _streamed(handle, events, leaving, release)
                release = None if response.streaming else release
            elif asked.is_background:
                response = json_response(events.response("queued"))
            else:
                response = await _whole(handle, events, leaving)
        finally:
            if release is not None:
                release()
        name_run(response, handle.run_id, handle.conversation_id, handle.message_id)
        tell_rates(response, handle.rates)
        if handle.not_kept:
            response.headers["X-Not-Stored"] = handle.not_kept
        return response


class ResponseView(OpenAIView):
    scopes = {"GET": Scope.READ, "DELETE": Scope.WRITE}

    @extend_schema(
        summary="A stored response, or its stream again",
        **operation("GET /responses/{response_id}", errors=ERRORS, answers={(200, STREAM): EVENTS}),
    )
    async def get(self, request: HttpRequest, principal: Principal, response_id: str) -> HttpResponseBase:
        run = await in_database_thread(reading.find_run, principal, response_id)
        include = request.GET.getlist("include[]") or request.GET.getlist("include")
        if request.GET.get("stream", "").lower() not in ("true", "1"):
            return json_response(await in_database_thread(_read, run, include))
        return await _resumed(run, principal, _after(request))

    @extend_schema(
        summary="Delete a stored response",
        description="The messages that it alone answers are deleted with it, and a conversation that is then empty.",
        **operation("DELETE /responses/{response_id}", errors=ERRORS, answers={200: DELETED}),
    )
    async def delete(self, request: HttpRequest, principal: Principal, response_id: str) -> HttpResponse:
        run = await in_database_thread(reading.find_run, principal, response_id)
        await in_database_thread(_delete, run)
        return json_response({"id": id_of(run.pk), "object": "response", "deleted": True})


class CancelView(OpenAIView):
    scopes = {"POST": Scope.GENERATE}

    @extend_schema(
        summary="Stop a response in the background; its text so far is kept",
        **operation("POST /responses/{response_id}/cancel", errors=ERRORS),
    )
    async def post(self, request: HttpRequest, principal: Principal, response_id: str) -> HttpResponse:
        run = await in_database_thread(reading.find_run, principal, response_id)
        if not (run.echo or {}).get("background"):
            raise BadRequest("Only a response that was created with background=true can be cancelled.")
        if not run.is_over:
            await stop(run.pk, seconds=PATIENCE)  # one that has not ended yet is shown as it is
            run = await in_database_thread(reading.find_run, principal, response_id)
        return json_response(await in_database_thread(_read, run, ()))


class InputItemsView(OpenAIView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        summary="The items of a response's input",
        **operation("GET /responses/{response_id}/input_items", errors=ERRORS),
    )
    async def get(self, request: HttpRequest, principal: Principal, response_id: str) -> HttpResponse:
        run = await in_database_thread(reading.find_run, principal, response_id)
        items = await in_database_thread(reading.input_items, run)
        return json_response(page_of(items, request.GET, newest_first=True))


class InputTokensView(OpenAIView):
    scopes = {"POST": Scope.GENERATE}
    body_limit = CONTENT_LIMIT

    @extend_schema(
        summary="How many tokens an input has, estimated",
        **operation("POST /responses/input_tokens", errors=ERRORS),
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        asked = read_request(read_object(request), needs_input=False)
        made = await run_request(asked, principal)
        before = await in_database_thread(reading.wires_before, made)
        told = [{"content": made.instructions}] if made.instructions else []
        tokens = sum(map(estimate_tokens, [*told, *before, *made.messages]))
        if made.parameters.get("tools"):
            tokens += estimate_tokens({"content": str(made.parameters["tools"])})
        return json_response({"object": "response.input_tokens", "input_tokens": tokens})


def head_of(handle: RunHandle) -> Head:
    """Return what is known of a response that was just accepted. The items of one that is not stored have its id."""
    made = handle.request
    named = made.conversation_id if made.echo and made.echo.get("in_conversation") else None
    return Head(
        handle.run_id, handle.message_id or handle.run_id, handle.created_at, made.model[:200], made.echo or {}, named
    )


async def _whole(handle: RunHandle, events: ResponseEvents, leaving: Leaving) -> HttpResponse:
    async def collected() -> RunFinished:
        async for event in subscribe(handle.run_id, reader=handle.request.principal):
            if not isinstance(event, Heartbeat):
                events.collect(event)
            if isinstance(event, RunFinished):
                return event
        raise AssertionError("a run always ends")

    finished = await leaving.wait(handle.run_id, collected)
    if finished.status != "complete":
        return failure(finished)
    response = json_response(events.response(events.status))
    add_cost_header(response, finished)
    return response


async def _streamed(handle: RunHandle, events: ResponseEvents, leaving: Leaving, release: Any) -> HttpResponseBase:
    """Answer with a stream; with an error status if the run fails before any text, unless it is in the background."""
    principal = handle.request.principal
    if events.head.is_background:
        following = subscribe(handle.run_id, reader=principal, idle=sse.idle_seconds(), merged=False)
        return sse.event_stream(_frames(following, events, after=-1), on_close=release)
    failed, following_, when_left = await follow(handle.run_id, leaving, reader=principal, merged=False)
    if failed is not None:
        return failure(failed)
    return sse.event_stream(_frames(following_, events, after=-1), on_close=release, when_left=when_left)


async def _resumed(run: Run, principal: Principal, after: int) -> HttpResponseBase:
    release = acquire_stream(principal)
    try:
        if run.is_over and not await in_database_thread(reading.has_chunks, run):
            stored = await in_database_thread(reading.read_events, run)
            frames = _at_once(stored, after)
        else:
            following = subscribe(run.pk, reader=principal, idle=sse.idle_seconds(), merged=False)
            frames = _frames(following, ResponseEvents(reading.head_of(run)), after)
        response = sse.event_stream(frames, on_close=release)
    except BaseException:
        release()
        raise
    name_run(response, run.pk, run.conversation_id, run.message_id)
    return response


async def _frames(following: AsyncIterator[Event], events: ResponseEvents, after: int) -> AsyncIterator[bytes]:
    """Yield the frames of the events after number `after`; the first ones do not wait for the model."""
    if first := _encoded(events.take(), after):
        yield first
    async for event in following:
        if isinstance(event, Heartbeat):
            yield sse.COMMENT_LINE
            continue
        data = _encoded(events.feed(event), after)
        if isinstance(event, RunFinished):
            data += DONE
        if data:
            yield data


async def _at_once(events: ResponseEvents, after: int) -> AsyncIterator[bytes]:
    yield _encoded(events.take(), after) + DONE


def _encoded(events: list[dict[str, Any]], after: int) -> bytes:
    return b"".join([frame(event) for event in events if event["sequence_number"] > after])


def _read(run: Run, include: Any) -> dict[str, Any]:
    return reading.read_response(run, include=include)


def _delete(run: Run) -> None:
    delete_stored(run=run)


def _after(request: HttpRequest) -> int:
    text = request.GET.get("starting_after")
    if text is None:
        return -1
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadRequest("'starting_after' must be a sequence number.", code="invalid_value", param="starting_after")
    return int(text)
