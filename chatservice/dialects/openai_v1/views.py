"""The endpoints of the OpenAI wire."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from accounts import throttling
from accounts.authentication import SloppyKeyAuthentication
from accounts.database import in_database_thread
from accounts.principal import Principal
from chatservice.dialects.base import AsyncAPIView, json_response, problem_response
from chatservice.dialects.idempotency import KEY
from chatservice.dialects.json_body import read_object
from chatservice.dialects.openai_v1 import serializers
from chatservice.dialects.openai_v1.calls import ask_from
from chatservice.dialects.openai_v1.errors import render, should_retry
from chatservice.dialects.openai_v1.history import stored_response
from chatservice.dialects.openai_v1.stream import ChunkStream, problem_of_end
from chatservice.dialects.problems import Problem
from completions import services, sse
from completions.asks import Accepted
from completions.readers import subscribe, wait_for_end
from completions.slots import take_stream_slot
from completions.types import Ended, Quiet, ReaderEvent

ERRORS = {
    status: OpenApiResponse(serializers.OpenAIError, description=description)
    for status, description in {
        400: "The request is not valid",
        401: "No valid key",
        404: "No such model, says the model's server",
        413: "The body is too large",
        415: "The body is not JSON",
        422: "The Idempotency-Key belongs to another request",
        429: "Too many answers at once, or a minute",
        502: "The model's server failed",
        503: "The service is restarting",
        504: "The model's server did not answer in time",
    }.items()
}
EXAMPLE = {"model": "default", "messages": [{"role": "user", "content": "Tell me a joke"}]}


class OpenAIView(AsyncAPIView):
    render = staticmethod(render)
    authentication = SloppyKeyAuthentication

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        began = time.monotonic()
        response = await super().dispatch(request, *args, **kwargs)
        response.headers["openai-processing-ms"] = str(int((time.monotonic() - began) * 1000))
        response.headers["openai-version"] = "2020-10-01"
        return response


class ChatCompletionsView(OpenAIView):
    generates = True

    @extend_schema(
        operation_id="create_chat_completion",
        summary="Answer a list of messages, streamed or not",
        request=serializers.ChatCompletionRequest,
        parameters=[OpenApiParameter("Idempotency-Key", KEY, OpenApiParameter.HEADER)],
        responses={
            (200, "application/json"): serializers.ChatCompletion,
            (200, "text/event-stream"): serializers.StreamEvent,
            **ERRORS,
        },
        examples=[
            OpenApiExample("not streamed", EXAMPLE, request_only=True),
            OpenApiExample("streamed", {**EXAMPLE, "stream": True}, request_only=True),
        ],
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponseBase:
        body = read_object(request)
        ask = ask_from(body, principal=principal, idempotency=request.headers.get("idempotency-key"))
        release = take_stream_slot(principal) if ask.stream else None
        try:
            accepted = await services.ask(ask)
            if ask.stream and release is not None:
                options = body.get("stream_options") or {}
                response = await _streamed(request, accepted, release, bool(options.get("include_usage")))
                release = None if response.streaming else release
            else:
                response = await _whole(accepted)
        finally:
            if release is not None:
                release()
        _add_headers(response, accepted)
        return response


async def _whole(accepted: Accepted) -> HttpResponse:
    ended = await wait_for_end(accepted.run_id)
    if ended.status != "complete":
        return _failure(ended)
    # Asked for under an earlier key or elsewhere: the upstream's body is rebuilt from what is stored.
    response = ended.response or await in_database_thread(stored_response, accepted.run_id)
    return json_response(response if ended.recalled is None else {**(response or {}), "recalled": ended.recalled})


async def _streamed(request: HttpRequest, accepted: Accepted, release: Any, include_usage: bool) -> HttpResponseBase:
    """Answer with a stream, or with the error's own status when the run fails before it said anything."""
    events = subscribe(accepted.run_id, idle=sse.idle_seconds())
    first = await anext(events)
    if isinstance(first, Ended) and first.status != "complete":
        return _failure(first)
    wire = ChunkStream(
        run_id=accepted.run_id,
        created=int(accepted.created_at.timestamp()),
        model=accepted.ask.model,
        include_usage=include_usage,
    )
    frames = sse.encode(_chain(first, events), wire.frame, heartbeat=sse.COMMENT_LINE)
    if request.headers.get("x-on-disconnect", "").lower() == "cancel":
        frames = sse.cancel_when_left(frames, accepted.run_id)
    return sse.event_stream(frames, headers={}, on_close=release)


async def _chain(first: ReaderEvent | Quiet, rest: AsyncIterator[ReaderEvent | Quiet]) -> AsyncIterator[Any]:
    yield first
    if not isinstance(first, Ended):
        async for event in rest:
            yield event


def _failure(ended: Ended) -> HttpResponse:
    problem = problem_of_end(ended)
    if ended.status == "cancelled":
        problem = Problem(409, problem.code, problem.message)
    return _with_retry(problem_response(problem, render), problem)


def _with_retry(response: HttpResponse, problem: Problem) -> HttpResponse:
    if retry := should_retry(problem):
        response.headers["x-should-retry"] = retry
    return response


def _add_headers(response: HttpResponseBase, accepted: Accepted) -> None:
    headers = response.headers
    headers["X-Run-Id"] = str(accepted.run_id)
    if accepted.conversation_id is not None:
        headers["X-Conversation-Id"] = str(accepted.conversation_id)
        headers["X-Message-Id"] = str(accepted.message_id)
    limit = settings.LIMIT_RUN_STARTS_PER_MINUTE
    if limit:
        headers["x-ratelimit-limit-requests"] = str(limit)
        headers["x-ratelimit-remaining-requests"] = str(max(0, limit - accepted.starts))
        headers["x-ratelimit-reset-requests"] = f"{throttling.seconds_left()}s"
