"""Selects the part of a conversation that is sent with a question: the newest turns within the budget. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from completions.types import Wire

CHARS_PER_TOKEN = 4  # rough; rather too high than too low for prose in most languages
TURN_TOKENS = 4  # the frame around a message
INSTRUCTIONS = frozenset({"system", "developer"})
RESULTS = frozenset({"tool", "function"})
PICTURE_TOKENS = 1_000  # whatever its size: models scale pictures down
MAX_FILE_TOKENS = 4_000
"""What a document or a recording counts at most, and one whose size is not known: its base64 is not what is read."""
_PICTURES = frozenset({"image_url", "input_image", "image"})
_FILES = _PICTURES | {"file", "input_file", "input_audio"}
_AROUND = 4  # quotation marks, a colon and a comma


def budget_for(model: str, budgets: Mapping[str, int]) -> int:
    """Return the token budget for the history sent to `model`: from the pattern that matches, or from `*`."""
    for pattern, tokens in budgets.items():
        if pattern != "*" and fnmatch.fnmatchcase(model, pattern):
            return tokens
    return budgets.get("*", 16_000)


def estimate_tokens(wire: Wire) -> int:
    """Return roughly how many tokens a message has. Pictures and files do not count by the length of their base64."""
    length = sum(_length(value) for name, value in wire.items() if name != "role")
    return TURN_TOKENS + (length + CHARS_PER_TOKEN - 1) // CHARS_PER_TOKEN


def pictures_in(wire: Wire) -> int:
    """Return how many pictures a message has."""
    return _count_parts(wire, _PICTURES)


def file_parts(wire: Wire) -> int:
    """Return how many pictures, documents and recordings a message has."""
    return _count_parts(wire, _FILES)


def _count_parts(wire: Wire, kinds: frozenset[str]) -> int:
    content = wire.get("content")
    parts = content if isinstance(content, list | tuple) else ()
    types = [part.get("type") for part in parts if isinstance(part, Mapping)]
    return sum(isinstance(kind, str) and kind in kinds for kind in types)


def _length(value: Any) -> int:
    """Return how many characters of text a value is worth."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        kind = value.get("type")
        if isinstance(kind, str) and kind in _FILES:
            return _length_of_file(kind, value)
        return sum(len(str(name)) + _AROUND + _length_of_field(name, each) for name, each in value.items())
    if isinstance(value, list | tuple):
        return sum(_AROUND + _length(each) for each in value)
    return 0 if value is None else len(str(value))


def _length_of_field(name: Any, value: Any) -> int:
    if name == "image_url" and isinstance(value, str) and value.startswith("data:"):  # a screenshot, for example
        return PICTURE_TOKENS * CHARS_PER_TOKEN
    return _length(value)


def _length_of_file(kind: str, part: Wire) -> int:
    most = MAX_FILE_TOKENS * CHARS_PER_TOKEN
    if kind in _PICTURES:
        return PICTURE_TOKENS * CHARS_PER_TOKEN
    fields = part.get(kind)
    fields = fields if isinstance(fields, Mapping) else part
    content = fields.get("file_data") or fields.get("data")
    return min(len(content) * 3 // 4, most) if isinstance(content, str) else most


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
