"""The endpoints of the OpenAI-compatible API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from accounts.authentication import LenientKeyAuthentication
from accounts.callers import Principal
from accounts.scopes import Scope
from accounts.throttling import Rate
from chatservice.dialects.base import AsyncAPIView, json_response, problem_response
from chatservice.dialects.costs import add_cost_header
from chatservice.dialects.empty_answers import named_reason
from chatservice.dialects.file_references import check_files, new_references_in
from chatservice.dialects.idempotency import KEY
from chatservice.dialects.json_body import read_object
from chatservice.dialects.leaving import ON_DISCONNECT, Leaving, read_leaving
from chatservice.dialects.openai_v1 import serializers
from chatservice.dialects.openai_v1.cost import with_cost
from chatservice.dialects.openai_v1.errors import QUOTA, render, should_retry
from chatservice.dialects.openai_v1.history import as_documented, stored_response
from chatservice.dialects.openai_v1.ids import completion_id
from chatservice.dialects.openai_v1.reference import operation
from chatservice.dialects.openai_v1.request_parsing import ask_from, wants_cost
from chatservice.dialects.openai_v1.stream import ChunkStream
from chatservice.dialects.problems import Problem
from chatservice.dialects.run_errors import problem_of_end
from chatservice.dialects.run_requests import submit
from chatservice.dialects.run_responses import follow, name_run
from completions import sse
from completions.readers import wait_for_end
from completions.run_requests import RunHandle
from completions.stream_limits import acquire_stream
from completions.types import RunFinished
from foundation.database import in_database_thread

ERRORS = {
    status: OpenApiResponse(serializers.OpenAIError, description=description)
    for status, description in {
        400: "The request is not valid",
        401: "No valid key",
        403: "The model, a parameter or the search is not allowed here",
        404: "The model's server has no such model",
        409: "The answer was stopped, or the one that the Idempotency-Key asks for again was not to be stored",
        413: "The body is too large",
        415: "The body is not JSON",
        422: "The Idempotency-Key belongs to another request",
        429: "Too many answers at once or per minute",
        502: "The model's server failed",
        503: "The service is restarting",
        504: "The model's server did not answer in time",
    }.items()
}
EXAMPLE = {"model": "default", "messages": [{"role": "user", "content": "Tell me a joke"}]}


CONTENT_LIMIT = "LIMIT_CONTENT_BODY_BYTES"
"""The limit on bodies of requests with messages, which may have pictures and files in them."""


class OpenAIView(AsyncAPIView):
    render = staticmethod(render)
    authentication = LenientKeyAuthentication

    async def dispatch(  # type: ignore[override]  # a coroutine, as the base has it
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        began = time.monotonic()
        response = await super().dispatch(request, *args, **kwargs)
        response.headers["openai-processing-ms"] = str(int((time.monotonic() - began) * 1000))
        response.headers["openai-version"] = "2020-10-01"
        return response

    def refusal(self, problem: Problem) -> HttpResponse:
        response = super().refusal(problem)
        # The official clients would ask again at once; a budget is renewed in days.
        return _with_retry(response, problem) if problem.code == QUOTA else response


class ChatCompletionsView(OpenAIView):
    scopes = {"POST": Scope.GENERATE}
    body_limit = CONTENT_LIMIT
    starts_runs = frozenset({"POST"})

    @extend_schema(
        summary="Create a chat completion, streamed or not",
        **operation(
            "POST /chat/completions",
            parameters=[OpenApiParameter("Idempotency-Key", KEY, OpenApiParameter.HEADER), ON_DISCONNECT],
            errors=ERRORS,
        ),
        examples=[
            OpenApiExample("not streamed", EXAMPLE, request_only=True),
            OpenApiExample("streamed", {**EXAMPLE, "stream": True}, request_only=True),
        ],
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponseBase:
        body = read_object(request)
        await asyncio.sleep(0)  # reading and checking a large body take milliseconds each: others' tokens go between
        run_request = ask_from(body, principal=principal, idempotency=request.headers.get("idempotency-key"))
        await check_files(principal, new_references_in(run_request.messages, "messages"))
        leaving = read_leaving(request, "openai_v1", keyed=bool(run_request.idempotency_key))
        release = acquire_stream(principal) if run_request.stream else None
        try:
            handle = await submit(run_request)
            if run_request.stream and release is not None:
                options = body.get("stream_options") or {}
                cost = wants_cost(body)
                usage = bool(options.get("include_usage")) or cost
                response = await _streamed(handle, leaving, release, include_usage=usage, include_cost=cost)
                release = None if response.streaming else release
            else:
                response = await _whole(handle, leaving, include_cost=wants_cost(body))
        finally:
            if release is not None:
                release()
        _add_headers(response, handle)
        return response


async def _whole(handle: RunHandle, leaving: Leaving, *, include_cost: bool) -> HttpResponse:
    finished = await leaving.wait(handle.run_id, lambda: wait_for_end(handle.run_id))
    if finished.status != "complete":
        return failure(finished)
    # The upstream's body is not kept for a run of an earlier request: it is rebuilt from what is stored.
    response = finished.response
    if response is None:
        response = await in_database_thread(stored_response, handle.run_id)
    recalled = {} if finished.recalled is None else {"recalled": finished.recalled}
    # What is stored can be read by its id, so that is our own.
    named = {"id": completion_id(handle.run_id)} if handle.message_id else {}
    usage = {"usage": with_cost(response.get("usage"), finished)} if include_cost else {}
    answer = json_response({**as_documented(response), **named, **recalled, **named_reason(finished), **usage})
    add_cost_header(answer, finished)
    return answer


async def _streamed(
    handle: RunHandle, leaving: Leaving, release: Any, *, include_usage: bool, include_cost: bool
) -> HttpResponseBase:
    """Answer with a stream, or with an error status if the run fails before any text."""
    failed, events, when_left = await follow(handle.run_id, leaving, reader=handle.request.principal)
    if failed is not None:
        return failure(failed)
    wire = ChunkStream(
        run_id=handle.run_id,
        created=int(handle.created_at.timestamp()),
        model=handle.request.model,
        include_usage=include_usage,
        include_cost=include_cost,
        is_stored=handle.message_id is not None,
    )
    frames = sse.encode(events, wire.frame, heartbeat=sse.COMMENT_LINE)
    return sse.event_stream(frames, on_close=release, when_left=when_left)


def failure(finished: RunFinished) -> HttpResponse:
    """Return the error response for a run that gave no complete answer."""
    problem = problem_of_end(finished)
    return _with_retry(problem_response(problem, render), problem)


def _with_retry(response: HttpResponse, problem: Problem) -> HttpResponse:
    if retry := should_retry(problem):
        response.headers["x-should-retry"] = retry
    return response


def _add_headers(response: HttpResponseBase, handle: RunHandle) -> None:
    headers = response.headers
    name_run(response, handle.run_id, handle.conversation_id, handle.message_id)
    if handle.not_kept:
        headers["X-Not-Stored"] = handle.not_kept
    tell_rates(response, handle.rates)


def tell_rates(response: HttpResponseBase, rates: Sequence[Rate]) -> None:
    """Add OpenAI's headers that tell what is left of the caller's limits a minute."""
    for rate in rates:
        response.headers[f"x-ratelimit-limit-{rate.unit}"] = str(rate.limit)
        response.headers[f"x-ratelimit-remaining-{rate.unit}"] = str(rate.remaining)
        response.headers[f"x-ratelimit-reset-{rate.unit}"] = f"{rate.seconds_left}s"
