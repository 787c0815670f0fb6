"""What a model thought before it answered, as text, in whichever field its server sends it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PLAIN = ("reasoning", "reasoning_content")
DETAILS = "reasoning_details"
IN_DETAIL = ("summary", "text")
REASONING = (*PLAIN, DETAILS)


def reasoning_text(wire: Mapping[str, Any], between: str = "") -> str:
    """Return the reasoning in a chat message, or in the delta of one; '' if there is none to read.

    A message has the parts of its reasoning as a list, which `between` separates. Servers that send such a list repeat
    its text in a plain field.
    """
    plain = _texts(wire, PLAIN)
    if plain:
        return plain[0]
    details = wire.get(DETAILS)
    each = details if isinstance(details, list) else []
    return between.join([text for detail in each if isinstance(detail, dict) for text in _texts(detail, IN_DETAIL)])


def _texts(fields: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    found = [fields.get(name) for name in names]
    return [text for text in found if isinstance(text, str) and text]


def reasoning_in(chunks: Iterable[Mapping[str, Any]]) -> str:
    """Return the reasoning in chunks of an answer: that of its first choice."""
    choices = [choice for chunk in chunks for choice in chunk.get("choices") or ()]
    deltas = [choice.get("delta") for choice in choices if choice.get("index", 0) == 0]
    return "".join([reasoning_text(delta) for delta in deltas if isinstance(delta, dict)])
