"""Turns the end of a run without a complete answer into the problem that clients see."""

from __future__ import annotations

from chatservice.dialects.problems import Problem
from completions.types import RunFinished


def problem_of_end(finished: RunFinished) -> Problem:
    """Return the problem to show for a run that gave no complete answer."""
    if finished.status == "cancelled":
        return Problem(409, finished.error_code or "cancelled", finished.error_message or "The answer was stopped.")
    return Problem(
        finished.http_status if finished.http_status >= 400 else 502,
        finished.error_code or "interrupted",
        finished.error_message or "The answer was interrupted.",
        param=finished.param,
        retry_after=finished.retry_after,
        retryable=finished.retryable,
    )
