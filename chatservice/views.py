"""Health, readiness, and the errors that no dialect's view answers, in the shape of the dialect they belong to."""

from __future__ import annotations

import sys
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import Resolver404, resolve

from accounts.authentication import caller_of
from accounts.proxies import missing_setting
from chatservice import __version__, readiness
from chatservice.dialects import DIALECTS, dialect_of
from chatservice.dialects.base import json_response, problem_response, renderer_of
from chatservice.dialects.problems import NOT_FOUND, Problem, problem_of, with_request_id
from completions.exceptions import ShuttingDown
from foundation.outages import is_passing
from pages.csp import PAGE_HEADERS

TITLES = {400: "This request is not valid", 403: "Not allowed", 404: "Page not found"}


async def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return json_response({"status": "ok", "version": __version__})


async def readyz(request: HttpRequest) -> HttpResponse:
    """Tell whether the process can do its work, and if not, what prevents it."""
    problem = await readiness.problem()
    return json_response({"status": problem or "ok"}, 503 if problem else 200)


def _answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Answer in the shape of the path's dialect; a browser gets a page at paths that are no API's."""
    if problem.status in TITLES and prefers_page(request) and not _is_of_api(request.path_info):
        return notice(problem.status, TITLES[problem.status], problem.message)
    return answer_at(request.path_info, problem)


def _is_of_api(path: str) -> bool:
    """Tell whether a path is an API's: below the mount of one, or a route of the one that is mounted at the root."""
    dialect = _dialect_at(path)
    if dialect is None or DIALECTS[dialect]:
        return dialect is not None
    try:
        return bool(resolve("/" + path.strip("/")))
    except Resolver404:
        return False


def prefers_page(request: HttpRequest, *, otherwise: str = "application/json") -> bool:
    """Tell whether whoever asks would rather have a page than JSON; `otherwise` is for who takes both."""
    both = sorted(("text/html", "application/json"), key=lambda each: each != otherwise)
    return request.get_preferred_type(both) == "text/html"


def answer_at(path: str, problem: Problem) -> HttpResponse:
    """Return `problem` in the shape of the dialect that `path` belongs to."""
    dialect = _dialect_at(path)
    return problem_response(problem, plain if dialect is None else renderer_of(dialect))


def plain(problem: Problem) -> dict[str, Any]:
    """Return `problem` in the shape of what belongs to no dialect."""
    return {"error": with_request_id({"code": problem.code, "message": problem.message})}


def _dialect_at(path: str) -> str | None:
    """Return the dialect whose view answers at `path`: one dialect may be mounted inside another one's path."""
    try:
        view = resolve("/" + path.strip("/")).func
    except Resolver404:
        return dialect_of(path)
    module = getattr(view, "view_class", view).__module__
    package, _, rest = module.removeprefix("chatservice.").partition(".")
    return rest.partition(".")[0] if package == "dialects" else dialect_of(path)


def notice(status: int, title: str, message: str) -> HttpResponse:
    """Return a page that explains a refusal to people."""
    page = render_to_string("notice.html", {"title": title, "message": message})
    return HttpResponse(page, status=status, headers=PAGE_HEADERS)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    error = sys.exc_info()[1]
    if isinstance(error, Exception) and is_passing(error):
        return _answer(request, problem_of(error))
    return _answer(request, Problem(500, "internal_error", "The service failed. It is not your fault."))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, Problem(400, "invalid_request", "The request is not valid."))


def unknown_host(request: HttpRequest) -> HttpResponse:
    message = "This Host is not served here: see the setting ALLOWED_HOSTS."
    return _answer(request, Problem(400, "unknown_host", message))


def shutting_down(request: HttpRequest) -> HttpResponse:
    return _answer(request, problem_of(ShuttingDown(retry_after=5)))


def proxy_not_configured(request: HttpRequest, message: str) -> HttpResponse:
    return _answer(request, Problem(500, "proxy_not_configured", message))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Explain why a form was refused; the usual reason is a setting that the proxy in front requires."""
    caller = caller_of(request)
    message = missing_setting(caller.headers, secure=caller.secure) or f"{reason} Reload the page and try again."
    return notice(403, "This form was not accepted", message)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, Problem(403, "forbidden", "Not allowed."))
