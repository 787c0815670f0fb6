"""The span of an HTTP request, until the last byte of its response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from opentelemetry.trace import Span, SpanKind

from chatservice.middleware import PROBES
from foundation.logs.context import LogContext, current
from observability.responses import METHODS, respond
from observability.tracing import spans

UNTRACED = frozenset((*PROBES, "/metrics"))


class TraceMiddleware:
    """The outermost middleware, if there are traces. Its span continues the trace of a trusted proxy."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        context = current()
        if not spans.is_on() or not context.request_id or path in UNTRACED or path.startswith("/static/"):
            return await self.get_response(request)
        # The id of a trace is known by now only if the sender of the header is trusted: chatservice/request_log.py.
        parent = request.headers.get("traceparent", "") if context.trace_id else ""
        method = request.method if request.method in METHODS else "_OTHER"
        attributes = {"http.request.method": str(method), "chatservice.request.id": context.request_id}
        span = spans.start("HTTP" if method == "_OTHER" else str(method), parent, attributes, kind=SpanKind.SERVER)
        spans.work_in(span)
        return await respond(self.get_response, request, lambda status: end(span, context, status))


def end(span: Span, context: LogContext, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if context.route:
        span.set_attribute("http.route", context.route)
        span.update_name(f"{context.method} {context.route}")
    if context.user_id is not None:
        span.set_attribute("user.id", str(context.user_id))
    if status >= 500:
        spans.fail(span, str(status))
    span.end()
