"""Turns the values of a response into those of a chat completion. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from completions.types import Wire

_REASONS: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}
_USAGE: Final = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}


def chat_envelope(response: Wire, kind: str) -> dict[str, Any]:
    """Return the fields that all chunks of an answer have in common."""
    envelope: dict[str, Any] = {"object": kind}
    if isinstance(response.get("id"), str):
        envelope["id"] = response["id"]
    created = response.get("created_at")
    if isinstance(created, int | float) and not isinstance(created, bool):
        envelope["created"] = int(created)
    if isinstance(response.get("model"), str):
        envelope["model"] = response["model"]
    return envelope


def chat_usage(usage: Any) -> dict[str, Any] | None:
    """Return the token counts under the names of chat completions, unknown fields as they are."""
    if not isinstance(usage, Mapping):
        return None
    counts = {_USAGE.get(name, str(name)): value for name, value in usage.items()}
    asked, written = counts.get("prompt_tokens"), counts.get("completion_tokens")
    if counts.get("total_tokens") is None and isinstance(asked, int) and isinstance(written, int):
        counts["total_tokens"] = asked + written
    return counts


def finish_reason(response: Wire, status: str, *, calls: bool) -> str:
    """Return why the answer ended. An incomplete one of which no known reason is given was cut off."""
    if status == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        return _REASONS.get(reason, "length") if isinstance(reason, str) else "length"
    return "tool_calls" if calls else "stop"


def chat_annotation(annotation: Wire) -> dict[str, Any]:
    """Return a citation: those of web pages have an object of their own in chat completions."""
    kind = annotation.get("type")
    if kind != "url_citation" or isinstance(annotation.get(kind), Mapping):
        return dict(annotation)
    return {"type": kind, kind: {name: value for name, value in annotation.items() if name != "type"}}


def chat_logprobs(logprobs: Any) -> dict[str, Any] | None:
    tokens = [_token(each) for each in logprobs if isinstance(each, Mapping)] if isinstance(logprobs, list) else []
    return {"content": tokens, "refusal": None} if tokens else None


def _token(scored: Wire) -> dict[str, Any]:
    others = scored.get("top_logprobs")
    top = [_one(each) for each in others if isinstance(each, Mapping)] if isinstance(others, list) else []
    return {**_one(scored), "top_logprobs": top}


def _one(scored: Wire) -> dict[str, Any]:
    token, given = scored.get("token"), scored.get("bytes")
    if given is None and isinstance(token, str):
        given = list(token.encode("utf-8", "replace"))
    return {"token": token, "logprob": scored.get("logprob"), "bytes": given}
