"""Why a complete answer has no text: it was refused, there was only reasoning, or nothing at all. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from conversations.finish_reasons import CUT_OFF
from conversations.reasoning import REASONING

REFUSAL: Final = "refusal"
REASONING_ONLY: Final = "reasoning_only"
EMPTY: Final = "empty"
REASONS: Final = (REFUSAL, REASONING_ONLY, EMPTY)

_WITHHELD = frozenset({"content_filter", "refusal"})
_SAYING = ("tool_calls", "function_call", "audio", "images", "content_parts")


def empty_reason(wire: Mapping[str, Any], finish_reason: str | None) -> str | None:
    """Return one of `REASONS` for the message of a complete answer without text; None for any other message.

    Tool calls, recordings and pictures are answers. White space is not.
    """
    content = wire.get("content")
    items = content if isinstance(content, list) else [{"type": "text", "text": content}]
    if any(map(_says_something, items)) or any(wire.get(name) for name in _SAYING):
        return None
    if _is_text(wire.get("refusal")) or any(_is_refusal(item) for item in items) or finish_reason in _WITHHELD:
        return REFUSAL
    return REASONING_ONLY if any(wire.get(name) for name in REASONING) else EMPTY


def describe(reason: str, finish_reason: str | None) -> str:
    """Return a sentence for people about an answer with this `empty_reason`."""
    is_cut_off = finish_reason in CUT_OFF
    if reason == REFUSAL:
        is_filtered = finish_reason == "content_filter"
        return "A content filter withheld the answer." if is_filtered else "The model refused."
    if reason == REASONING_ONLY:
        end = "reached the token limit" if is_cut_off else "gave no answer"
        return f"The model only reasoned and {end}."
    return "The model reached the token limit before it answered." if is_cut_off else "The model gave an empty answer."


def _says_something(item: Any) -> bool:
    if not isinstance(item, Mapping):
        return _is_text(item)
    return _is_text(item["text"]) if "text" in item else bool(item) and not _is_refusal(item)


def _is_refusal(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("type") == REFUSAL


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
