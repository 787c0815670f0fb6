"""Renders problems in this dialect's shape."""

from __future__ import annotations

from typing import Any

from chatservice.dialects.problems import Problem, with_request_id


def render(problem: Problem) -> dict[str, Any]:
    error: dict[str, Any] = {"code": problem.code, "message": problem.message}
    if problem.details:
        error["details"] = problem.details
    return {"error": with_request_id(error)}
