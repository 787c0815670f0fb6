"""Joins characters that an upstream cut into several chunks, as `"\\ud83d"` and `"\\ude00"`, or between their bytes."""

from __future__ import annotations

import re
from typing import Any

from completions.providers.sanitize import RAW_BYTES, characters, clean_tree

# The fields whose text continues in the next chunk
_CONTINUED = frozenset(
    {"content", "reasoning", "reasoning_content", "refusal", "arguments", "input", "text", "summary"}
)
_LAST_BYTES = re.compile(RAW_BYTES.pattern + r"\Z")
REPLACEMENT = "\ufffd"


class Halves:
    """The first halves whose second halves have not arrived, by choice and field of one answer."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[Any, ...], str] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def join(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """Return `chunk` with storable strings; a first half at the end of a text is kept back."""
        deltas = [choice.pop("delta") for choice in chunk["choices"]]
        clean: dict[str, Any] = clean_tree(chunk)
        for choice, delta in zip(clean["choices"], deltas, strict=True):
            choice["delta"] = self._mend(delta, (choice["index"],))
        return clean

    def release(self) -> list[tuple[int, dict[str, Any]]]:
        """Return, for each half that is left, the index of its choice and a delta with the replacement character."""
        waiting, self._waiting = self._waiting, {}
        return [(path[0], _delta(path[1:])) for path in waiting]

    def _mend(self, value: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(value, str):
            text = self._waiting.pop(path, "") + value
            if path[-1] in _CONTINUED and (rest := _begun(text)):
                self._waiting[path] = rest
                text = text[: -len(rest)]
            return clean_tree(text)
        if isinstance(value, dict):
            return {clean_tree(key): self._mend(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._mend(item, (*path, _place(item, at))) for at, item in enumerate(value)]
        return value


def _begun(text: str) -> str:
    """Return the end of a text if it only begins a character."""
    if "\ud800" <= text[-1:] <= "\udbff":
        return text[-1]
    raw = _LAST_BYTES.search(text[-3:])  # more bytes begin no character
    return characters(raw[0])[1] if raw else ""


def _place(item: Any, at: int) -> int:
    index = item.get("index") if isinstance(item, dict) else None
    return index if type(index) is int else at


def _delta(path: tuple[Any, ...]) -> dict[str, Any]:
    value: Any = REPLACEMENT
    for name in reversed(path):
        if isinstance(name, str):
            value = {name: value}
        else:
            value = [{"index": name, **value} if isinstance(value, dict) else value]
    found: dict[str, Any] = value
    return found
