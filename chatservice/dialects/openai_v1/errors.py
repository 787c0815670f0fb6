"""Renders problems as OpenAI's error object."""

from __future__ import annotations

from typing import Any

from chatservice.dialects.problems import Problem

# Codes for which OpenAI's clients know another name.
CODES = {"unauthorized": "invalid_api_key", "insufficient_scope": "insufficient_permissions"}
# The official clients retry 408, 409, 429 and 5xx by themselves. They are told not to if the upstream broke off, so
# that the answer may have been billed, or if the result would be the same. These codes may be retried, and whatever
# failed before the upstream sent anything.
RETRY = frozenset({"rate_limit_exceeded", "shutting_down", "storage_unavailable", "upstream_unreachable"})
FUTILE = "upstream_unauthorized"
QUOTA = "insufficient_quota"
"""OpenAI's code of an account that has used up its budget is the type as well."""
RETRIED = frozenset({408, 409, 429})


def render(problem: Problem) -> dict[str, Any]:
    return {
        "error": {
            "message": problem.message,
            "type": problem.code if problem.code == QUOTA else type_of(problem.status),
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
    """Return the value of `x-should-retry`, or None if the client would not retry anyway."""
    if problem.status in RETRIED or problem.status >= 500:
        return "true" if problem.code in RETRY or (problem.retryable and problem.code != FUTILE) else "false"
    return None
