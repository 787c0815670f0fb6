"""Assembles wire chunks into messages: the structured parts of an answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from completions.types import Wire
from conversations.finish_reasons import shown

WHOLE = "chat.completion"
# Lists whose items have an index only in a stream
_NUMBERED = frozenset({"tool_calls", "annotations", "content_parts"})
# These are sent once, not in parts to be joined. A name may come in parts; the same again is a repetition.
_WHOLE = frozenset({"id", "type", "role", "format", "signature", "expires_at"})


class Assembly:
    """Collects wire chunks into `extras` and `siblings`."""

    def __init__(self) -> None:
        self._choices: dict[int, dict[str, Any]] = {}

    def feed(self, chunks: Iterable[Wire]) -> None:
        for chunk in chunks:
            for choice in chunk.get("choices") or ():
                index = choice.get("index")
                known = self._choices.setdefault(index if isinstance(index, int) else 0, {})
                delta = choice.get("delta")
                if isinstance(delta, dict):
                    _merge(known, delta)
                if choice.get("finish_reason"):
                    known["finish_reason"] = choice["finish_reason"]

    def extras(self) -> dict[str, Any] | None:
        """Return the fields of the first choice besides role and text, or None."""
        return _tidy(self._choices.get(0, {}), without=("role", "content", "finish_reason")) or None

    def siblings(self) -> tuple[Wire, ...]:
        """Return the further choices as whole messages, each with its `finish_reason`."""
        return tuple(
            {"role": "assistant", "content": "", **_tidy(choice, without=("role",))}
            for index, choice in sorted(self._choices.items())
            if index > 0
        )


def extras_of_message(message: Wire) -> dict[str, Any] | None:
    """Return the non-empty fields of a whole answer message besides role and text."""
    extras = {name: value for name, value in message.items() if name not in ("role", "content") and value}
    return extras or None


def whole_choice(message: Wire, finish_reason: str) -> dict[str, Any]:
    """Return a choice of a whole answer in OpenAI's shape, built from a stored message."""
    filled = {"role": "assistant", "content": "", "refusal": None, **message}
    if not filled["content"] and (filled.get("tool_calls") or filled["refusal"]):
        filled["content"] = None
    return {"index": 0, "message": filled, "logprobs": None, "finish_reason": shown(finish_reason) or "stop"}


def with_finish_reasons(response: Wire) -> Wire:
    """Return a whole answer with the finish reason `stop` in choices that have none."""
    choices = response["choices"]
    if all(choice.get("finish_reason") for choice in choices):
        return response
    ended = [{**choice, "finish_reason": choice.get("finish_reason") or "stop"} for choice in choices]
    return {**response, "choices": ended}


def says_more(choices: Sequence[Any], stored: Wire) -> bool:
    """Tell whether an upstream's choices contain anything that one rebuilt from the `stored` message would lack."""
    return len(choices) != 1 or _telling(choices[0]) != _telling(stored)


def _telling(choice: Wire) -> tuple[dict[str, Any], dict[str, Any]]:
    given = choice.get("message") or {}
    message = {name: value for name, value in given.items() if value or name == "content" or value in (0, False)}
    rest = {name: value for name, value in choice.items() if name not in ("message", "index") and value is not None}
    return message, rest


def _tidy(choice: dict[str, Any], *, without: tuple[str, ...]) -> dict[str, Any]:
    tidy: dict[str, Any] = {}
    for name, value in choice.items():
        if name in without or value is None:
            continue
        if name in _NUMBERED and isinstance(value, list):
            value = [_without_index(item) for item in value]
        tidy[name] = value
    return tidy


def _without_index(item: Any) -> Any:
    return {key: value for key, value in item.items() if key != "index"} if isinstance(item, dict) else item


def _merge(into: dict[str, Any], delta: Wire) -> None:
    for name, value in delta.items():
        known = into.get(name)
        if known is None or value is None:
            into[name] = _copy(value) if value is not None else known
        elif isinstance(known, str) and isinstance(value, str):
            is_whole = name in _WHOLE or (name == "name" and known == value)
            into[name] = (known or value) if is_whole else known + value
        elif isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        elif isinstance(known, _Growing) and isinstance(value, list):
            for item in value:
                known.add(item)
        else:
            into[name] = value


class _Growing(list[Any]):
    """A list that grows item by item; `at` finds an item by its `index` without scanning ten thousand others."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[Any, dict[str, Any]] = {}

    def add(self, item: Any) -> None:
        """Merge an item into the one that names the same `index`, or append it."""
        index = item.get("index") if isinstance(item, dict) else None
        if not isinstance(index, int):
            self.append(_copy(item))
        elif index in self.at:
            _merge(self.at[index], item)
        else:
            self.at[index] = _copy(item)
            self.append(self.at[index])


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    if isinstance(value, list):
        pieces = _Growing()
        for item in value:
            pieces.add(item)
        return pieces
    return value
