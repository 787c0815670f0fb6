"""A response as its object: from the request's own fields and what is known of the answer. Pure."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatservice.dialects.empty_answers import named_reason
from chatservice.dialects.openai_v1.ids import conversation_id, response_id
from chatservice.dialects.openai_v1.responses import statuses
from chatservice.dialects.openai_v1.responses.canonical import canonical
from completions.types import RunFinished, Wire

ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "reasoning": {"effort": None, "summary": None},
    "metadata": {},
    "temperature": 1.0,
    "top_p": 1.0,
    "top_logprobs": 0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "parallel_tool_calls": True,
    "service_tier": "default",
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "truncation": "disabled",
    "store": True,
    "background": False,
}
"""The request's fields that a response repeats, with what they are if they were not given."""
ONLY_IF_GIVEN = ("user",)
"""What a response repeats of a request, and otherwise leaves out: it may not be null."""


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a response before its answer begins. `echo` are the request's fields of ECHOED."""

    run_id: uuid.UUID
    message_id: uuid.UUID
    created_at: dt.datetime
    model: str
    echo: Wire
    conversation_id: uuid.UUID | None = None
    """Named only if the request named a conversation."""

    @property
    def is_background(self) -> bool:
        return bool(self.echo.get("background"))


def response_object(
    head: Head, status: str, *, output: list[dict[str, Any]] | None = None, finished: RunFinished | None = None
) -> dict[str, Any]:
    """Return the response; `output` are the items so far."""
    over = finished is not None and status not in ("queued", "in_progress")
    return {
        "id": response_id(head.run_id),
        "object": "response",
        "created_at": int(head.created_at.timestamp()),
        "completed_at": _seconds(finished.finished_at) if finished and status == "completed" else None,
        "status": status,
        "error": statuses.error_of(finished) if finished and status == "failed" else None,
        "incomplete_details": statuses.incomplete_details(finished) if finished and status == "incomplete" else None,
        "model": head.model,
        "output": output or [],
        "conversation": {"id": conversation_id(head.conversation_id)} if head.conversation_id else None,
        "usage": usage_of(finished.usage) if finished and over else None,
        **({"recalled": [*map(canonical, finished.recalled)]} if finished and finished.recalled is not None else {}),
        **(named_reason(finished) if finished else {}),
        **{name: head.echo.get(name, default) for name, default in ECHOED.items()},
        **{name: head.echo[name] for name in ONLY_IF_GIVEN if head.echo.get(name) is not None},
    }


def usage_of(usage: Wire | None) -> dict[str, Any] | None:
    """Return OpenAI's usage object of chat completions as that of responses."""
    if not isinstance(usage, Mapping):
        return None
    sent, written = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return {
        "input_tokens": sent,
        "input_tokens_details": {
            name: _count(usage.get("prompt_tokens_details"), name) for name in ("cached_tokens", "cache_write_tokens")
        },
        "output_tokens": written,
        "output_tokens_details": {
            "reasoning_tokens": _count(usage.get("completion_tokens_details"), "reasoning_tokens")
        },
        "total_tokens": _count(usage, "total_tokens") or sent + written,
    }


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _seconds(moment: dt.datetime | None) -> int | None:
    return int(moment.timestamp()) if moment is not None else None
