"""What all dialects share and no single API defines: the async view, errors, limits, answers."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.authentication import PrincipalAuthentication, caller_of
from accounts.callers import Caller, Principal
from accounts.principal import known_principal, resolve_principal
from accounts.scopes import Scope, require_scope, require_scopes
from accounts.throttling import RateLimited, enforce_reads, read_counters
from chatservice.dialects.problems import (
    CONTENT_CODINGS,
    MISSING_SCOPE,
    UNKNOWN_CODING,
    Problem,
    problem_of,
    refuse_bad_body,
)
from completions.exceptions import ShuttingDown, StorageUnavailable, TooManyRuns
from foundation.database import in_database_thread
from foundation.logs.context import current

T = TypeVar("T")

# These refusals do not count as reads: a client that is told to retry in a second may do so for the whole minute.
WITHOUT_ROOM = (RateLimited, TooManyRuns, ShuttingDown, StorageUnavailable)

encode_json = msgspec.json.Encoder(enc_hook=str).encode


def json_response(value: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(encode_json(value), status=status, content_type="application/json")


def problem_response(problem: Problem, render: Callable[[Problem], Any]) -> HttpResponse:
    """Return `problem` as a response in a dialect's shape."""
    response = json_response(render(problem), problem.status)
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if problem.code == MISSING_SCOPE:
        response.headers["WWW-Authenticate"] = f'Bearer error="{MISSING_SCOPE}"'
    if problem.code == UNKNOWN_CODING:
        response.headers["Accept-Encoding"] = CONTENT_CODINGS
    return response


def renderer_of(dialect: str) -> Callable[[Problem], Any]:
    render: Callable[[Problem], Any] = importlib.import_module(f"chatservice.dialects.{dialect}.errors").render
    return render


class DialectMixin:
    """Base for every view of a dialect: renders errors in the dialect's shape. Set `render` and `authentication`.

    `scopes` declares the scope that a key needs for each method; a HEAD needs that of the GET.
    """

    render: Callable[[Problem], Any]
    authentication: type[PrincipalAuthentication] = PrincipalAuthentication
    scopes: Mapping[str, Scope | None] = {}

    def allow(self, principal: Principal, method: str) -> None:
        """Raise ScopeMissing if the caller's key lacks the scope of `method`. What is not declared needs all scopes."""
        if principal.scopes is None or method == "OPTIONS" or not hasattr(self, method.lower()):
            return
        method = "GET" if method == "HEAD" else method
        if method in self.scopes:
            require_scope(principal, self.scopes[method])
        else:
            require_scopes(principal, None)

    def get_authenticators(self) -> list[BaseAuthentication]:
        return [self.authentication()]

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], HttpResponse]:
        return lambda error, context: problem_response(problem_of(error), type(self).render)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)  # type: ignore[misc]  # APIView's, which every user has
        self.allow(request.user, request.method or "")  # type: ignore[arg-type]  # a Principal, as below
        refuse_bad_body(request._request)
        count_request(request.user)  # type: ignore[arg-type]  # a Principal: the authentication is ours


def count_request(principal: Principal) -> None:
    """Count a request that starts no run; raises RateLimited beyond LIMIT_READS_PER_MINUTE or a limit of its own."""
    enforce_reads(principal)


@dataclass(slots=True)
class _Tally:
    """Whether the current request was already counted, as a read or through the run that it started."""

    counted: bool = False


_tally: ContextVar[_Tally] = ContextVar("tally")


def begin_counting() -> None:
    """Count everything that follows in this task as one request, at most once."""
    _tally.set(_Tally())


async def count_read(principal: Principal) -> None:
    """Count the current request as a read, unless it was already counted; without the limit it needs no thread."""
    tally = _tally.get(None) or _Tally()
    if not tally.counted:
        tally.counted = True
        if read_counters(principal):
            await in_database_thread(count_request, principal)


async def count_run(principal: Principal, *, joined: bool) -> None:
    """Note that the current request started a run or, if `joined`, follows an earlier one.

    A started run is counted where runs are accepted. A request that joins a run counts as a read.
    """
    if joined:
        await count_read(principal)
    elif tally := _tally.get(None):
        tally.counted = True


async def counting_failures(principal: Principal, starting: Awaitable[T]) -> T:
    """Await `starting`, which starts a run; if it fails, count a read, unless the error is one of WITHOUT_ROOM."""
    try:
        return await starting
    except WITHOUT_ROOM:
        raise
    except Exception:
        await count_read(principal)
        raise


class AsyncAPIView(DialectMixin, APIView):
    """An async view that needs no thread before the accept transaction. Documented like any DRF view.

    Handlers take `(request, principal, **path parameters)` and return a Django response. `starts_runs` names the
    methods that start a run by `run_requests.submit`; they count as a read only if they start none.
    """

    request: HttpRequest  # type: ignore[assignment]  # Django's: DRF's own is not made here
    starts_runs: frozenset[str] = frozenset()

    async def dispatch(  # type: ignore[override]  # a coroutine, which Django awaits
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        self.request = request
        self.args, self.kwargs = args, kwargs
        handler: Callable[..., Awaitable[HttpResponseBase]] | None = None
        if request.method in self.allowed_methods:
            handler = getattr(self, request.method.lower(), None)
        try:
            if handler is None:
                problem = Problem(405, "method_not_allowed", f"{request.method} is not allowed here.")
                response = problem_response(problem, type(self).render)
                response.headers["Allow"] = ", ".join(self.allowed_methods)
                return response
            if request.method == "OPTIONS":
                return HttpResponse(status=204, headers={"Allow": ", ".join(self.allowed_methods)})
            principal = await self.principal(request)
            current().note_caller(principal)
            self.allow(principal, request.method or "")
            begin_counting()
            if request.method in self.starts_runs:
                return await counting_failures(principal, handler(request, principal, **kwargs))
            await count_read(principal)
            return await handler(request, principal, **kwargs)
        except Exception as error:
            return self.refusal(problem_of(error))

    def refusal(self, problem: Problem) -> HttpResponse:
        return problem_response(problem, type(self).render)

    async def principal(self, request: HttpRequest) -> Principal:
        """Return the caller; raises NotAdmitted."""
        caller = caller_of(request)
        how = self.authentication
        if known := known_principal(caller, lenient=how.lenient):
            return known
        return await in_database_thread(_resolve, caller, how.allow_guest, how.lenient)


def _resolve(caller: Caller, allow_guest: bool, lenient: bool) -> Principal:
    return resolve_principal(caller, allow_guest=allow_guest, lenient=lenient)
