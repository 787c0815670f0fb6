"""Lets web pages of the origins in CORS_ALLOWED_ORIGINS call the APIs with a key.

Never with a cookie: nothing here allows credentials, so browsers show such a page no response to a request with one,
and a session in it is refused anyway (accounts/sessions.py).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from accounts.callers import PAGE_USER
from accounts.origins import may_call_with_key
from accounts.sessions import MARK
from chatservice.dialects import dialect_of

ALLOW_ORIGIN = "Access-Control-Allow-Origin"
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
PREFLIGHT_SECONDS = "7200"  # the most that Chromium keeps
HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")
# By these our own pages are known.
OF_OUR_PAGES = {MARK, PAGE_USER}
# Sent by clients of the APIs; others may be asked for.
REQUEST_HEADERS = (
    *("accept", "authorization", "cache-control", "content-encoding", "content-type", "idempotency-key"),
    *("last-event-id", "x-on-disconnect", "x-request-id"),
)
# What a page may read of a response beside the few headers that every page may.
RESPONSE_HEADERS = ", ".join(
    (
        *(
            "X-Run-Id",
            "X-Conversation-Id",
            "X-Message-Id",
            "X-Request-Id",
            "X-Not-Stored",
            "X-Should-Retry",
            "X-Response-Cost",
        ),
        *(f"X-RateLimit-{what}-{unit}" for unit in ("Requests", "Tokens") for what in ("Limit", "Remaining", "Reset")),
        *("Retry-After", "RateLimit", "RateLimit-Policy", "Link", "X-Total-Count", "X-Next-Cursor", "X-Search-Asked"),
        *("X-Search-Mode", "X-Search-Why", "X-Took-Ms", "WWW-Authenticate", "Accept-Encoding", "Allow"),
        *("Content-Disposition", "Location"),
    )
)


class CorsMiddleware:
    """Answer preflight requests for the APIs, and add to their responses that the page may read them.

    The outermost middleware, so that every error has the header; it is not there without the setting.
    """

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if dialect_of(request.path_info) is None:
            return await self.get_response(request)
        allowed = headers_for(request.headers.get("origin", ""))
        is_preflight = request.method == "OPTIONS" and "access-control-request-method" in request.headers
        if is_preflight and ALLOW_ORIGIN in allowed:
            asked = request.headers.get("access-control-request-headers", "")
            response: HttpResponseBase = HttpResponse(status=204, headers=_preflight_headers(asked))
        else:
            response = await self.get_response(request)
        if vary := allowed.pop("Vary", ""):
            before = response.headers.get("Vary")
            response.headers["Vary"] = f"{before}, {vary}" if before else vary
        for name, value in allowed.items():
            response.headers[name] = value
        return response


def headers_for(origin: str) -> dict[str, str]:
    """Return the headers that each response of an API has for a page of `origin` ('' for a client that is no page)."""
    if not settings.CORS_ALLOWED_ORIGINS:
        return {}
    if "*" in settings.CORS_ALLOWED_ORIGINS:
        return {ALLOW_ORIGIN: "*", "Access-Control-Expose-Headers": RESPONSE_HEADERS}
    if not may_call_with_key(origin):
        return {"Vary": "Origin"}
    return {ALLOW_ORIGIN: origin, "Access-Control-Expose-Headers": RESPONSE_HEADERS, "Vary": "Origin"}


def _preflight_headers(asked: str) -> dict[str, str]:
    """Return the headers of the response to a preflight request that asks for these request headers."""
    names = dict.fromkeys(REQUEST_HEADERS)
    # Clients and their libraries send many more (x-stainless-*, traces), and none of them can do harm here.
    for name in asked.lower().split(","):
        if HEADER_NAME.fullmatch(name.strip()) and name.strip() not in OF_OUR_PAGES:
            names[name.strip()] = None
    return {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": ", ".join(names),
        "Access-Control-Max-Age": PREFLIGHT_SECONDS,
        "Cache-Control": "no-store",
    }
