"""Problems in the envelope."""

from __future__ import annotations

from typing import Any

from chatservice.dialects.problems import Problem
from completions.types import Ended


def render(problem: Problem) -> dict[str, Any]:
    return {
        "success": False,
        "message": problem.message,
        "error": {"code": problem.code, "details": dict(problem.details or {})},
    }


def problem_of_end(ended: Ended) -> Problem:
    """Return why a run gave no whole answer."""
    return Problem(
        ended.http_status if ended.http_status >= 400 else 502,
        ended.error_code or "interrupted",
        ended.error_message or "The answer was interrupted.",
        param=ended.param,
        retry_after=ended.retry_after,
    )
