"""How the end of a run reads as a response: its status, its error, why it is incomplete. Pure."""

from __future__ import annotations

from typing import Any

from chatservice.dialects.run_errors import problem_of_end
from completions.types import RunFinished

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
EVENTS = {
    "completed": "response.completed",
    "failed": "response.failed",
    "incomplete": "response.incomplete",
    "cancelled": "response.incomplete",  # there is no event of its own: the response in it says what it is
}


def status_of(finished: RunFinished) -> str:
    """Return completed, incomplete, failed or cancelled."""
    if finished.status == "cancelled":
        return "cancelled"
    if finished.status != "complete":
        return "failed"
    return "incomplete" if finished.finish_reason in INCOMPLETE else "completed"


def incomplete_details(finished: RunFinished) -> dict[str, Any] | None:
    reason = INCOMPLETE.get(finished.finish_reason or "")
    return {"reason": reason} if reason else None


def error_of(finished: RunFinished) -> dict[str, Any]:
    problem = problem_of_end(finished)
    return {"code": problem.code, "message": problem.message[:600]}  # as much as is stored
