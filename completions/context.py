"""Selects the part of a conversation that is sent with a question: the newest turns within the budget. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

from completions.types import Wire

CHARS_PER_TOKEN = 4  # rough; rather too high than too low for prose in most languages
TURN_TOKENS = 4  # the frame around a message
INSTRUCTIONS = frozenset({"system", "developer"})


def budget_for(model: str, budgets: Mapping[str, int]) -> int:
    """Return the token budget for the history sent to `model`: from the pattern that matches, or from `*`."""
    for pattern, tokens in budgets.items():
        if pattern != "*" and fnmatch.fnmatchcase(model, pattern):
            return tokens
    return budgets.get("*", 16_000)


def estimate_tokens(wire: Wire) -> int:
    content = wire.get("content")
    length = len(content) if isinstance(content, str) else len(str(content or ""))
    extra = sum(len(str(value)) for name, value in wire.items() if name not in ("role", "content"))
    return TURN_TOKENS + (length + extra + CHARS_PER_TOKEN - 1) // CHARS_PER_TOKEN


def fit(messages: Sequence[Wire], *, tokens: int) -> tuple[Wire, ...]:
    """Drop the oldest turns until the rest fits in `tokens`.

    Instructions are always kept, wherever they are, and so is the last message, however long it is. A tool's answer is
    never kept without the call it answers.
    """
    left = tokens - sum(estimate_tokens(wire) for wire in messages if wire.get("role") in INSTRUCTIONS)
    keep = [wire.get("role") in INSTRUCTIONS for wire in messages]
    for index in range(len(messages) - 1, -1, -1):
        if keep[index]:
            continue
        left -= estimate_tokens(messages[index])
        if left < 0 and index < len(messages) - 1:
            break
        keep[index] = True
    for index, wire in enumerate(messages):
        if not keep[index] or wire.get("role") in INSTRUCTIONS:
            continue
        if wire.get("role") not in ("tool", "function") or index == len(messages) - 1:
            break
        keep[index] = False
    return tuple(wire for wire, kept in zip(messages, keep, strict=True) if kept)
