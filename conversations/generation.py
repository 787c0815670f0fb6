"""What a conversation keeps of how its answers are made: instructions, and parameters for the model.

It is one JSON object, checked by the same rules wherever it comes from: an API, an import, or the database itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from conversations.storable import is_storable

INSTRUCTIONS_CHARS = 16_000
MAX_TOKENS = 2**31 - 1
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


class _Rule(NamedTuple):
    """Which values a field takes, and how that is said."""

    allows: Callable[[Any], bool]
    wanted: str


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


RULES = {
    "instructions": _Rule(
        lambda value: isinstance(value, str) and len(value) <= INSTRUCTIONS_CHARS and is_storable(value),
        f"a text of at most {INSTRUCTIONS_CHARS} characters",
    ),
    "temperature": _Rule(lambda value: _is_number(value) and 0 <= value <= 2, "a number from 0 to 2"),
    "top_p": _Rule(lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    "max_tokens": _Rule(
        lambda value: _is_number(value) and isinstance(value, int) and 1 <= value <= MAX_TOKENS,
        f"a whole number from 1 to {MAX_TOKENS}",
    ),
    "reasoning_effort": _Rule(
        lambda value: isinstance(value, str) and value in EFFORTS, f"one of {', '.join(EFFORTS)}"
    ),
}


def read_generation(value: Any) -> dict[str, Any] | None:
    """Return the fields that are set, or None without any; raises ValueError for anything that is not allowed.

    Null and blank instructions count as not set.
    """
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() - RULES:
        raise ValueError(f"null, or an object with any of {', '.join(RULES)}.")
    for name, given in value.items():
        if given is not None and not RULES[name].allows(given):
            raise ValueError(f"'{name}' is {RULES[name].wanted}.")
    return _set(value)


def readable_generation(value: Any) -> dict[str, Any] | None:
    """Return what is allowed of a value from elsewhere, such as a file; None if that is nothing."""
    if not isinstance(value, dict):
        return None
    return _set({name: value[name] for name, rule in RULES.items() if name in value and rule.allows(value[name])})


def _set(value: dict[str, Any]) -> dict[str, Any] | None:
    given = {name: each for name, each in value.items() if each is not None}
    if not given.get("instructions", "").strip():
        given.pop("instructions", None)
    return given or None
