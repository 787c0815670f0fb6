"""Renders problems as JSON-RPC errors."""

from __future__ import annotations

from typing import Any

from chatservice.dialects.problems import Problem, with_request_id

PARSE_ERROR, INVALID_REQUEST, INTERNAL_ERROR = -32700, -32600, -32603


def render(problem: Problem) -> dict[str, Any]:
    """Return an error that answers no particular message: it was refused before it was read."""
    error = {"code": _code(problem), "message": problem.message, "data": data_of(problem)}
    return {"jsonrpc": "2.0", "id": None, "error": error}


def data_of(problem: Problem) -> dict[str, Any]:
    data: dict[str, Any] = {"code": problem.code}
    if problem.details:
        data["details"] = problem.details
    if problem.retry_after is not None:
        data["retry_after"] = problem.retry_after
    return with_request_id(data)


def _code(problem: Problem) -> int:
    if problem.code == "invalid_json":
        return PARSE_ERROR
    return INTERNAL_ERROR if problem.status >= 500 else INVALID_REQUEST
