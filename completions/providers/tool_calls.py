"""Numbers streamed tool calls, which servers send without an index or with a wrong one.

A new id begins a new call, and a delta without an id belongs to the call before. Calls are numbered in the order in
which they appear. Their id, type and name are sent once, because OpenAI's clients join the strings of all deltas.
A call without an id gets one, because a client answers to it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from completions.providers.sanitize import encode_json


def as_number(value: Any) -> int | None:
    """Return an index that was sent as a number or as text; None if it is not a whole number from 0 up."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 10:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None


def made_up_id(seed: str, position: int) -> str:
    """Return an id for the call at a `position` of an answer: nine letters and digits, as Mistral wants them."""
    return hashlib.sha256(f"{seed} {position}".encode("utf-8", "replace")).hexdigest()[:9]


@dataclass(slots=True)
class _Call:
    id: str
    name: str = ""
    is_function: bool = False
    has_told_id: bool = False  # the server's, or one that was made up
    has_arguments: bool = False
    complete: bool = False  # as far as the last character of its arguments tells


class ToolCalls:
    """The calls of one choice of a stream. Ids are made up from the `seed`."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._calls: list[_Call] = []
        self._by_id: dict[str, int] = {}
        self._by_index: dict[int, int] = {}
        self._last = 0

    def number(self, pieces: Any) -> list[dict[str, Any]]:
        """Return the tool calls of one delta with the numbers of their calls; items that are not calls are left out."""
        if isinstance(pieces, dict):
            pieces = [pieces]
        elif not isinstance(pieces, list):
            return []
        return [
            piece if self._is_proper(piece) else self._piece(piece)
            for piece in pieces
            if isinstance(piece, dict) and _says_something(piece)
        ]

    def last_ids(self, pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the pieces of the last delta with ids for the calls that have none."""
        for at, call in enumerate(self._calls):
            if not call.has_told_id:
                call.has_told_id = True
                # The official client insists on a function in each piece of its call.
                rest = {"function": {"arguments": ""}} if call.is_function else {}
                pieces = [*pieces, {"index": at, "id": made_up_id(self._seed, at), **rest}]
        return pieces

    def _is_proper(self, piece: dict[str, Any]) -> bool:
        """Tell whether it has only more arguments of a known call, as nearly all have: then it is sent on as it is."""
        index, function = piece.get("index"), piece.get("function")
        if len(piece) != 2 or type(index) is not int or type(function) is not dict or len(function) != 1:
            return False
        arguments = function.get("arguments")
        if type(arguments) is not str or not arguments or self._by_index.get(index) != index:
            return False
        call = self._calls[index]
        if not call.has_told_id:
            return False
        call.has_arguments, call.complete = True, arguments.endswith("}")
        self._last = index
        return True

    def _piece(self, piece: dict[str, Any]) -> dict[str, Any]:
        call_id = _text(piece.get("id"))
        index = as_number(piece.get("index"))
        function = _function(piece)
        custom = piece.get("custom")
        name = _text((function or (custom if isinstance(custom, dict) else {})).get("name"))
        arguments = (function or {}).get("arguments", "")
        at = self._find(call_id, index, name, arguments)
        is_new = at is None
        if at is None:
            at = len(self._calls)
            self._calls.append(_Call(call_id))
        call, self._last = self._calls[at], at
        if call_id:
            self._by_id[call_id] = at
        if index is not None:
            self._by_index[index] = at
        out = {key: value for key, value in piece.items() if key not in ("index", "id", "type", "function")}
        out["index"] = at
        call.id = call.id or call_id
        # The id may follow a name, but no arguments.
        if not call.has_told_id and (call_id or "arguments" in (function or {}) or custom):
            out["id"] = call_id or made_up_id(self._seed, at)
            call.has_told_id = True
        if function is None and call.is_function:
            function = {}
        if is_new and (_text(piece.get("type")) or function is not None):
            out["type"] = _text(piece.get("type")) or "function"
            call.is_function = function is not None
        if name == call.name and function is not None:
            function.pop("name", None)
        elif name != call.name:
            call.name += name
        if function is not None:
            function.setdefault("arguments", "")
            out["function"] = function
        if arguments.strip():
            call.has_arguments = True
            call.complete = arguments.rstrip().endswith("}")
        return out

    def _find(self, call_id: str, index: int | None, name: str, arguments: str) -> int | None:
        """Return the position of the call that a delta belongs to; None if it begins a new one."""
        of_index = None if index is None else self._by_index.get(index)
        of_id = self._by_id.get(call_id) if call_id else None
        if of_id is not None:
            named = of_id if of_index is None or self._calls[of_index].id != call_id else of_index
            # Some servers give all calls the same id.
            another = name and (self._is_another(named, name) or (index is not None and of_index is None))
            return None if another else named
        at = of_index
        if at is None and self._calls and (index is None or not (call_id or name)):
            at = self._last
        if at is None:
            return None
        known = self._calls[at]
        if call_id and known.id:
            return None
        if name and known.name == name:
            return None if known.complete and arguments.lstrip().startswith("{") else at
        return None if name and known.name and (of_index is None or self._is_another(at, name)) else at

    def _is_another(self, at: int, name: str) -> bool:
        """Tell whether a name is of another call than a known one: before any arguments, it continues the name."""
        known = self._calls[at]
        return bool(known.name) and name != known.name and known.has_arguments


def whole_calls(calls: Any, seed: str) -> list[Any]:
    """Return the tool calls of a whole message, with ids, with arguments as text and without indexes."""
    whole: list[dict[str, Any]] = []
    for call in [calls] if isinstance(calls, dict) else calls if isinstance(calls, list) else []:
        if not isinstance(call, dict):
            continue
        call = {key: value for key, value in call.items() if key != "index"}
        if (function := _function(call)) is not None:
            function.setdefault("arguments", "")
            call |= {"type": _text(call.get("type")) or "function", "function": function}
        call["id"] = _text(call.get("id")) or made_up_id(seed, len(whole))
        whole.append(call)
    return whole


def legacy_call(call: Any) -> Any:
    """Return a `function_call` with its arguments as text."""
    return _function({"function": call}) if isinstance(call, dict) else call


def _function(piece: dict[str, Any]) -> dict[str, Any] | None:
    function = piece.get("function")
    if not isinstance(function, dict):
        return None
    function = {key: value for key, value in function.items() if value is not None}
    arguments = function.get("arguments", "")
    if not isinstance(arguments, str):
        function["arguments"] = encode_json(arguments).decode()
    if name := _text(function.pop("name", None)):
        function["name"] = name
    return function


def _says_something(piece: dict[str, Any]) -> bool:
    return any(piece[key] for key in piece if key not in ("index", "type"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if type(value) is int else ""


def seed_of(answer: dict[str, Any], choice: int) -> str:
    """Return what the ids of a choice's calls are made from: the same for the same answer."""
    return f"{answer.get('id')} {answer.get('created')} {choice}"
