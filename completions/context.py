"""Selects the part of a conversation that is sent with a question: the newest turns within the budget. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

from completions.types import Wire

CHARS_PER_TOKEN = 4  # rough; rather too high than too low for prose in most languages
TURN_TOKENS = 4  # the frame around a message
INSTRUCTIONS = frozenset({"system", "developer"})
RESULTS = frozenset({"tool", "function"})


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

    Instructions are always kept, wherever they are, and so is the turn of the last message, however long it is. A call
    and its results are one turn; results without a call are left out.
    """
    keep = {at for at, wire in enumerate(messages) if wire.get("role") in INSTRUCTIONS}
    left = tokens - sum(estimate_tokens(messages[at]) for at in keep)
    turns = _turns(messages)
    for turn in reversed(turns):
        left -= sum(estimate_tokens(messages[at]) for at in turn)
        if left < 0 and turn[-1] < len(messages) - 1:
            break
        keep.update(turn)
    return tuple(wire for at, wire in enumerate(messages) if at in keep)


def _turns(messages: Sequence[Wire]) -> list[list[int]]:
    """Return the places of the messages of each turn, without instructions."""
    turns: list[list[int]] = []
    for at, wire in enumerate(messages):
        if wire.get("role") in RESULTS:
            if turns:
                turns[-1].append(at)
        elif wire.get("role") not in INSTRUCTIONS:
            turns.append([at])
    return turns
