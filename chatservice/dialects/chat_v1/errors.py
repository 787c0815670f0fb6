"""Renders problems in the envelope."""

from __future__ import annotations

from typing import Any

from chatservice.dialects.problems import Problem


def render(problem: Problem) -> dict[str, Any]:
    return {
        "success": False,
        "message": problem.message,
        "error": {"code": problem.code, "details": dict(problem.details or {})},
    }
