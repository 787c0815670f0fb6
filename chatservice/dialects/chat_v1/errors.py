"""Renders problems in the envelope."""

from __future__ import annotations

from typing import Any

from chatservice.dialects.problems import Problem, with_request_id


def render(problem: Problem) -> dict[str, Any]:
    return {
        "success": False,
        "message": problem.message,
        "error": with_request_id({"code": problem.code, "details": dict(problem.details or {})}),
    }
