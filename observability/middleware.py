"""Counts requests, and answers `/metrics` to whoever has METRICS_TOKEN, before hosts and redirects are checked."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from django.conf import settings
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from prometheus_client.exposition import choose_encoder

from chatservice.middleware import PROBES
from foundation.database import call_in
from foundation.threads import DaemonThreads
from observability import figures
from observability.responses import METHODS, respond

PATH = "/metrics"
SECONDS = 8.0

# A thread of its own: those that the service has for its database may all hang, which metrics should tell.
_thread = DaemonThreads(1, "metrics")


class MetricsMiddleware:
    """The outermost middleware, if metrics are on."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.rstrip("/") == PATH and may_read(request):
            return await exposition(request)
        began = time.perf_counter()
        return await respond(
            self.get_response, request, lambda status: count(request, status, time.perf_counter() - began)
        )


def count(request: HttpRequest, status: int, seconds: float) -> None:
    labels = (request.method if request.method in METHODS else "other", route_of(request))
    figures.requests.labels(*labels, str(status)).inc()
    figures.request_seconds.labels(*labels).observe(seconds)


def route_of(request: HttpRequest) -> str:
    """Return the template of a request's route, without its ids: the paths of clients are many."""
    if match := request.resolver_match:
        return f"/{match.route}"
    path = request.path_info
    if path in PROBES:
        return path
    return "static" if path.startswith("/static/") else "other"


def may_read(request: HttpRequest) -> bool:
    given = request.headers.get("authorization", "").encode()
    expected = f"Bearer {settings.METRICS_TOKEN}".encode()
    return bool(settings.METRICS_TOKEN) and hmac.compare_digest(given, expected)


async def exposition(request: HttpRequest) -> HttpResponse:
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    try:
        body = await call_in(_thread, encode, (figures.registry,), SECONDS)
    except OperationalError:
        return HttpResponse(status=503)
    return HttpResponse(body, content_type=content_type, headers={"Cache-Control": "no-store"})
