"""Request ids, error shapes and headers for all requests; sessions and forms only on pages for browsers."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.deprecation import MiddlewareMixin
from whitenoise.middleware import WhiteNoiseMiddleware

from accounts import seen_proxies
from accounts.authentication import caller_of
from accounts.callers import FORWARDED
from accounts.connections import is_loopback
from accounts.proxies import https_hint, missing_setting
from chatservice.request_log import KEY, begin_request
from chatservice.views import healthz, proxy_not_configured, readyz, shutting_down, unknown_host
from foundation.logs.context import LogContext, current, log_context
from pages.csp import POLICY

logger = logging.getLogger(__name__)

BROWSER_PATHS = ("/admin", "/static/", "/login", "/logout")
WITH_SLASH = ("/admin", "/static/")
# Load balancers send the machine's address as Host, use plain http, and some use methods other than GET.
PROBES = {"/healthz": healthz, "/readyz": readyz}


class RequestMiddleware:
    """Send every request's id back in its response: a trusted proxy's, or one of ours."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        scope = getattr(request, "scope", {})
        if KEY in scope:
            return await self._respond(request, scope, scope[KEY])
        outside = log_context.set(LogContext())  # Django's test client, whose next request is in the same context
        try:
            return await self._respond(request, scope, begin_request(scope))
        finally:
            log_context.reset(outside)

    async def _respond(self, request: HttpRequest, scope: dict[str, Any], context: LogContext) -> HttpResponseBase:
        path = request.path_info
        if len(path) > 1 and path.endswith("/") and not path.startswith(WITH_SLASH):
            # Every documented route answers with and without the slash, without a redirect.
            request.path_info = path.rstrip("/") or "/"
        response: HttpResponseBase
        if probe := probe_of(request):
            context.route = request.path_info
            response = await probe(request)
        elif scope.get("late"):
            response = shutting_down(request)
        elif is_addressed_to_us(request):
            if seen_proxies.is_time_to_look():
                seen_proxies.note_headers(caller_of(request).headers, secure=request.is_secure())
            response = await self.get_response(request)
        else:
            response = unknown_host(request)
        if isinstance(response, HttpResponse) and response.status_code not in (204, 304):
            # Without a length the server sends chunks, which HTTP/1.0 does not know: some load balancers use it.
            response.headers.setdefault("Content-Length", str(len(response.content)))
        if user := getattr(request, "_cached_user", None):  # a browser's page has asked who it is
            context.user_id = user.pk
        response.headers["X-Request-Id"] = context.request_id
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "same-origin")
        # Responses that may be cached say so themselves: static files, documentation, pages that are the same for
        # everybody.
        response.headers.setdefault("Cache-Control", "no-store")
        if path.startswith("/admin"):
            response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    async def process_view(
        self,
        request: HttpRequest,
        callback: Callable[..., HttpResponseBase],
        callback_args: tuple[Any, ...],
        callback_kwargs: dict[str, Any],
    ) -> None:
        """Note the template of the path, for the log."""
        if request.resolver_match is not None:
            # Every path that did not match, 3 KB: a stream would hold them as long as it lasts.
            request.resolver_match.tried = None
            current().route = f"/{request.resolver_match.route}"


def probe_of(request: HttpRequest) -> Callable[[HttpRequest], Awaitable[HttpResponse]] | None:
    """Return the view of a probe; probes are answered before hosts and redirects are checked."""
    if request.method == "OPTIONS" and request.path_info == "/":
        return readyz  # HAProxy's default; it takes a redirect for success
    return PROBES.get(request.path_info)


def is_addressed_to_us(request: HttpRequest) -> bool:
    """Tell whether the Host is in ALLOWED_HOSTS: a foreign name may resolve to this machine (DNS rebinding)."""
    try:
        request.get_host()
    except DisallowedHost:
        return False
    return True


class BrowserOnly(MiddlewareMixin):
    """Skips a stock middleware, and the thread hop it costs, on the API's paths."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if request.path_info.startswith(BROWSER_PATHS):
            return super().__call__(request)
        return self.get_response(request)


class BrowserSecurityMiddleware(SecurityMiddleware):
    """Runs for all requests, since the redirect to https must hold for the API too. Pure computation, so no thread."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase | None = self.process_request(request)
        if response is None:
            response = await self.get_response(request)  # type: ignore[misc]  # a coroutine, where this is called
        elif problem := await sync_to_async(redirect_loop_cause, thread_sensitive=False)(request):
            warn_once(problem)
            response = proxy_not_configured(request, problem)
        return self.process_response(request, response)  # type: ignore[arg-type]  # streams, too


def redirect_loop_cause(request: HttpRequest) -> str:
    """Return what to change if the redirect to https would loop; empty if it would not.

    It would loop if the client already uses https to reach a proxy that does not say so. Such a proxy is recognised by
    other headers that it adds, or because its process on this machine belongs to another user.
    """
    caller = caller_of(request)
    if found := missing_setting(caller.headers, secure=False):
        return found
    if "x-forwarded-proto" in caller.headers:
        return ""
    if any(name.startswith(FORWARDED) for name in caller.headers):
        return https_hint()
    connection = caller.connection if is_loopback(caller.peer) else None
    return https_hint() if connection is not None and not connection.is_from_own_user() else ""


@functools.cache
def warn_once(message: str) -> None:
    logger.warning("%s", message)


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]  # it has no types
    """Serves static files. The stock class is synchronous: it would send every request through a thread."""

    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]
    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        super().__init__(get_response)
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        static_file = self.files.get(request.path_info)
        if static_file is None:
            return await self.get_response(request)
        return await sync_to_async(self._read, thread_sensitive=False)(static_file, request)

    def _read(self, static_file: Any, request: HttpRequest) -> HttpResponse:
        found = self.serve(static_file, request)
        body = b"".join(found.streaming_content) if found.streaming else found.content
        response = HttpResponse(body, status=found.status_code)
        for name, value in found.items():
            response.headers[name] = value
        found.close()
        return response


class BrowserSessionMiddleware(BrowserOnly, SessionMiddleware):
    pass


class BrowserCsrfMiddleware(BrowserOnly, CsrfViewMiddleware):
    async def process_view(  # type: ignore[override]  # a coroutine, which Django awaits
        self,
        request: HttpRequest,
        callback: Callable[..., HttpResponseBase],
        callback_args: tuple[Any, ...],
        callback_kwargs: dict[str, Any],
    ) -> HttpResponseBase | None:
        if not request.path_info.startswith(BROWSER_PATHS):
            return None  # browsers do not send bearer keys by themselves; the rule for sessions is in sessions.py
        check = sync_to_async(super().process_view, thread_sensitive=True)
        return await check(request, callback, callback_args, callback_kwargs)


class BrowserAuthenticationMiddleware(BrowserOnly, AuthenticationMiddleware):
    pass


class BrowserMessageMiddleware(BrowserOnly, MessageMiddleware):
    pass


class BrowserClickjackingMiddleware(BrowserOnly, XFrameOptionsMiddleware):
    pass
