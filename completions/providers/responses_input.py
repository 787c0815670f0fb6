"""Turns chat messages into the input items of the Responses API. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from completions.context import RESULTS
from completions.types import Wire

_CALLS: Final = ("function_call", "custom_tool_call")
_REASONING, _RAW, _MESSAGE, _CALL = range(4)


def rank(kind: str) -> int:
    """Return where items of a type usually are in an answer."""
    if kind in _CALLS:
        return _CALL
    return {"reasoning": _REASONING, "message": _MESSAGE}.get(kind, _RAW)


def input_items(messages: Sequence[Wire]) -> list[dict[str, Any]]:
    """Return the items of a history. Those in a message's `response_items` are sent as they are.

    An answer's `response_order` has the types of its items in the order in which they came, where that is unusual.
    """
    calls = _Calls()
    return [item for wire in messages for item in _items(wire, calls)]


class _Calls:
    """The calls so far: a result names its call, but not of what kind that was."""

    def __init__(self) -> None:
        self._custom: set[str] = set()
        self._legacy = 0

    def items(self, wire: Wire) -> Iterable[dict[str, Any]]:
        for call in _objects(wire.get("tool_calls")):
            custom, function = call.get("custom"), call.get("function")
            call_id = str(call.get("id") or "")
            if isinstance(custom, Mapping):
                self._custom.add(call_id)
                named = {"call_id": call_id, "name": custom.get("name"), **_namespace(custom)}
                yield {"type": "custom_tool_call", **named, "input": custom.get("input") or ""}
            elif isinstance(shell := call.get("local_shell"), Mapping):
                action = shell.get("action") or {}
                yield {"type": "local_shell_call", "call_id": call_id, "status": "completed", "action": action}
            elif isinstance(function, Mapping):
                yield _call(call_id, function)
        legacy = wire.get("function_call")
        if isinstance(legacy, Mapping):
            self._legacy += 1
            yield _call(self._legacy_id, legacy)

    def result(self, wire: Wire) -> dict[str, Any]:
        content = wire.get("content")
        call_id = str(wire.get("tool_call_id") or "") if wire.get("role") == "tool" else self._legacy_id
        kind = "custom_tool_call_output" if call_id in self._custom else "function_call_output"
        parts = _parts(content)
        if isinstance(content, str) or all(part.get("type") == "input_text" for part in parts):
            return {"type": kind, "call_id": call_id, "output": "".join(str(part.get("text")) for part in parts)}
        return {"type": kind, "call_id": call_id, "output": parts}

    @property
    def _legacy_id(self) -> str:
        return f"call_{self._legacy}"


def _items(wire: Wire, calls: _Calls) -> Iterable[dict[str, Any]]:
    raw = [dict(item) for item in _objects(wire.get("response_items"))]
    role = wire.get("role")
    if role != "assistant":
        if raw:
            yield from raw
        elif role in RESULTS:
            yield calls.result(wire)
        else:
            yield {"type": "message", "role": role, "content": _parts(wire.get("content"))}
        return
    found: list[list[dict[str, Any]]] = [[], raw, [], []]
    ranks = {rank(str(item.get("type"))) for item in raw}
    if _REASONING not in ranks:
        found[_REASONING] = list(_reasoning(wire))
    if not ranks & {_MESSAGE, _CALL}:
        if content := _said(wire):
            found[_MESSAGE] = [{"type": "message", "role": "assistant", "content": content}]
        found[_CALL] = list(calls.items(wire))
    order = wire.get("response_order")
    for kind in order if isinstance(order, list) else ():
        if same := found[rank(str(kind))]:
            yield same.pop(0)
    for left in found:
        yield from left


def _call(call_id: str, function: Wire) -> dict[str, Any]:
    arguments = function.get("arguments") or "{}"
    named = {"call_id": call_id, "name": function.get("name"), **_namespace(function)}
    return {"type": "function_call", **named, "arguments": arguments}


def _namespace(called: Wire) -> dict[str, Any]:
    return {"namespace": called["namespace"]} if called.get("namespace") else {}


def _reasoning(wire: Wire) -> Iterable[dict[str, Any]]:
    """Return the reasoning of an answer as the items that it came in; adjacent details with one id are one item."""
    items: list[dict[str, Any]] = []
    for detail in _objects(wire.get("reasoning_details")):
        named = {"id": detail["id"]} if isinstance(detail.get("id"), str) and detail["id"] else {}
        if not items or items[-1].get("id") != named.get("id") or (not named and "encrypted_content" in items[-1]):
            items.append({"type": "reasoning", **named, "summary": []})
        item = items[-1]
        match detail:
            case {"type": "reasoning.encrypted", "data": str(data)}:
                item["encrypted_content"] = data
            case {"type": "reasoning.summary", "summary": str(text)}:
                item["summary"].append({"type": "summary_text", "text": text})
            case {"type": "reasoning.text", "text": str(text)}:
                item.setdefault("content", []).append({"type": "reasoning_text", "text": text})
    for item in items:
        if "encrypted_content" in item:
            item.pop("content", None)  # it is encrypted, and OpenAI refuses it beside that
        # A summary alone says nothing to a model, and OpenAI would look for the item by its id.
        if item.keys() & {"encrypted_content", "content"}:
            yield item


def _said(wire: Wire) -> list[dict[str, Any]]:
    """Return the text and the refusal of an answer as the parts of an output message."""
    parts: list[dict[str, Any]] = []
    for part in _parts(wire.get("content")):
        if isinstance(part.get("refusal"), str):
            parts.append({"type": "refusal", "refusal": part["refusal"]})
        elif isinstance(part.get("text"), str) and part["text"]:
            parts.append({"type": "output_text", "text": part["text"], "annotations": []})
    if isinstance(refusal := wire.get("refusal"), str) and refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    return parts


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    return [_part(part) for part in content if isinstance(part, str | Mapping)] if isinstance(content, list) else []


def _part(part: str | Wire) -> dict[str, Any]:
    """Return a part of a chat message as a part of an input message; unknown ones are the upstream's to judge."""
    match part:
        case str():
            return {"type": "input_text", "text": part}
        case {"type": "text"}:
            return {"type": "input_text", "text": part.get("text") or ""}
        case {"type": "image_url", "image_url": str(url)}:
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        case {"type": "image_url", "image_url": {**image}}:
            fields = {"image_url": image.get("url"), "file_id": image.get("file_id")}
            given = {name: value for name, value in fields.items() if value}
            return {"type": "input_image", **given, "detail": image.get("detail") or "auto"}
        case {"type": "file", "file": file} if isinstance(file, Mapping):
            return {"type": "input_file", **file}
    return dict(part)


def _objects(value: Any) -> list[Wire]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []
