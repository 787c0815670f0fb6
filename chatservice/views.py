"""Health, readiness, and errors that no view answers for, in the shape of the dialect they belong to."""

from __future__ import annotations

from django.db import connection
from django.http import HttpRequest, HttpResponse

from accounts.database import in_database_thread
from chatservice.dialects import dialect_of
from chatservice.dialects.base import json_response, problem_response, renderer_of
from chatservice.dialects.problems import NOT_FOUND, Problem
from completions.services import is_draining


async def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return json_response({"status": "ok"})


async def readyz(request: HttpRequest) -> HttpResponse:
    """The process can do its work: the database answers, and it is not shutting down."""
    if is_draining():
        return json_response({"status": "draining"}, 503)
    try:
        await in_database_thread(_ask_database)
    except Exception:
        return json_response({"status": "database unavailable"}, 503)
    return json_response({"status": "ok"})


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    dialect = dialect_of(request.path)
    if dialect is None:
        return json_response({"error": {"code": problem.code, "message": problem.message}}, problem.status)
    return problem_response(problem, renderer_of(dialect))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    return _answer(request, Problem(500, "internal_error", "The service failed. It is not your fault."))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, Problem(400, "invalid_request", "The request is not valid."))


def unknown_host(request: HttpRequest) -> HttpResponse:
    message = "Nothing is served under this Host: see the setting ALLOWED_HOSTS."
    return _answer(request, Problem(400, "unknown_host", message))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, Problem(403, "forbidden", "Not allowed."))
