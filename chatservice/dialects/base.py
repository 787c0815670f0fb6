"""What dialects share, and nothing about any one API: the async view, errors, limits, answers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.exceptions import Throttled
from rest_framework.views import APIView

from accounts import throttling
from accounts.authentication import PrincipalAuthentication, caller_of
from accounts.database import in_database_thread
from accounts.principal import Caller, Principal, known_principal, resolve_principal
from chatservice.dialects.problems import TOO_LARGE, BadRequest, Problem, problem_of

encode_json = msgspec.json.Encoder(enc_hook=str).encode


def json_response(value: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(encode_json(value), status=status, content_type="application/json")


def problem_response(problem: Problem, render: Callable[[Problem], Any]) -> HttpResponse:
    """Return `problem` in the words of a dialect."""
    response = json_response(render(problem), problem.status)
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def renderer_of(dialect: str) -> Callable[[Problem], Any]:
    return importlib.import_module(f"chatservice.dialects.{dialect}.errors").render


class DialectMixin:
    """For every view of a dialect: its errors in its own shape. Set `render` and `authentication`."""

    render: Callable[[Problem], Any]
    authentication: type[PrincipalAuthentication] = PrincipalAuthentication

    def get_authenticators(self):
        return [self.authentication()]

    def get_exception_handler(self):
        return lambda error, context: problem_response(problem_of(error), type(self).render)

    def initial(self, request, *args, **kwargs):
        if getattr(request._request, "too_large", False):
            raise BadRequest(TOO_LARGE.message, code=TOO_LARGE.code, status=TOO_LARGE.status)
        super().initial(request, *args, **kwargs)  # type: ignore[misc]  # APIView's, which every user has
        count_request(request.user)


def count_request(principal: Principal) -> None:
    """Count a request that starts no run; raises Throttled beyond LIMIT_READS_PER_MINUTE."""
    if wait := throttling.hit(f"reads:{principal.user_id.hex}", limit=settings.LIMIT_READS_PER_MINUTE):
        raise Throttled(wait=wait)


class AsyncAPIView(DialectMixin, APIView):
    """A view of coroutines: no thread before the accept transaction. Documented like any DRF view.

    Handlers take `(request, principal, **path parameters)` and return a Django response. Views whose
    every request starts a run say so by `generates`: the accept transaction counts those.
    """

    generates = False

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.request = request
        self.args, self.kwargs = args, kwargs
        handler = getattr(self, request.method.lower(), None) if request.method in self.allowed_methods else None
        try:
            if handler is None:
                problem = Problem(405, "method_not_allowed", f"{request.method} is not possible here.")
                response = problem_response(problem, type(self).render)
                response.headers["Allow"] = ", ".join(self.allowed_methods)
                return response
            if request.method == "OPTIONS":
                return HttpResponse(status=204, headers={"Allow": ", ".join(self.allowed_methods)})
            principal = await self.principal(request)
            if not self.generates:
                await in_database_thread(count_request, principal)
            return await handler(request, principal, **kwargs)
        except Exception as error:
            return problem_response(problem_of(error), type(self).render)

    async def principal(self, request: HttpRequest) -> Principal:
        """Say who is calling; raises NotAdmitted."""
        caller = caller_of(request)
        how = self.authentication
        if known := known_principal(caller, sloppy=how.sloppy):
            return known
        return await in_database_thread(_resolve, caller, how.allow_guest, how.sloppy)


def _resolve(caller: Caller, allow_guest: bool, sloppy: bool) -> Principal:
    return resolve_principal(caller, allow_guest=allow_guest, sloppy=sloppy)
