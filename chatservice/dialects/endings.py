"""How a run ended, as the problem a client is told of."""

from __future__ import annotations

from chatservice.dialects.problems import Problem
from completions.types import Ended


def problem_of_end(ended: Ended) -> Problem:
    """Return why a run gave no whole answer."""
    if ended.status == "cancelled":
        return Problem(409, ended.error_code or "cancelled", ended.error_message or "The answer was stopped.")
    return Problem(
        ended.http_status if ended.http_status >= 400 else 502,
        ended.error_code or "interrupted",
        ended.error_message or "The answer was interrupted.",
        param=ended.param,
        retry_after=ended.retry_after,
    )
