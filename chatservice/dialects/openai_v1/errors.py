"""Problems as OpenAI's error object."""

from __future__ import annotations

from typing import Any

from chatservice.dialects.problems import Problem

# Codes OpenAI's clients know under another name.
CODES = {"unauthorized": "invalid_api_key"}
# The official clients try again by themselves on 408, 409, 429 and 5xx. Where the upstream may
# have billed already, or nothing would change, they are told not to.
RETRY = frozenset(
    {"rate_limit_exceeded", "shutting_down", "storage_unavailable", "upstream_unreachable", "upstream_unavailable"}
)
RETRIED = frozenset({408, 409, 429})


def render(problem: Problem) -> dict[str, Any]:
    return {
        "error": {
            "message": problem.message,
            "type": type_of(problem.status),
            "param": problem.param,
            "code": CODES.get(problem.code, problem.code),
        }
    }


def type_of(status: int) -> str:
    if status == 403:
        return "permission_error"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def should_retry(problem: Problem) -> str | None:
    """Return the value of `x-should-retry`, or None where the client would not retry anyway."""
    if problem.status in RETRIED or problem.status >= 500:
        return "true" if problem.code in RETRY or problem.code == "upstream_rate_limited" else "false"
    return None
