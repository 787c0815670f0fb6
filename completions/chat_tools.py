"""Tools that only the Responses API has, as functions, which every server of chat completions has. Pure.

A custom tool is a function with one text. A tool in a namespace has both names in one. The local shell is a function
with the fields of its action.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from completions.types import Wire

INPUT = "input"
LOCAL_SHELL = "local_shell"
MAX_NAME_CHARS = 64
IN_NEXT_MESSAGE = "(The next message shows it.)"
_SHELL_PARAMETERS = {
    "type": "object",
    "properties": {
        "command": {"type": "array", "items": {"type": "string"}, "description": "The program and its arguments"},
        "working_directory": {"type": "string"},
        "timeout_ms": {"type": "integer"},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["command"],
}


def chat_name(name: str, namespace: str = "") -> str:
    """Return the name of a function for a tool in a namespace, which is at most as long as servers take."""
    if not namespace:
        return name
    whole = f"{namespace.rstrip('_')}__{name}"
    if len(whole) <= MAX_NAME_CHARS:
        return whole
    return f"{whole[: MAX_NAME_CHARS - 9]}_{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def custom_function(tool: Wire) -> dict[str, Any]:
    """Return a custom tool as a function, with the grammar of its text in the description."""
    told = [str(tool["description"])] if tool.get("description") else []
    form = tool.get("format")
    if isinstance(form, Mapping) and form.get("definition"):
        told.append(f"'{INPUT}' follows this {form.get('syntax') or ''} grammar:\n{form['definition']}")
    parameters = {"type": "object", "properties": {INPUT: {"type": "string"}}, "required": [INPUT]}
    return {"name": tool["name"], "description": "\n\n".join(told), "parameters": parameters}


def shell_function() -> dict[str, Any]:
    return {"name": LOCAL_SHELL, "description": "Runs a command on this machine.", "parameters": _SHELL_PARAMETERS}


def with_functions_only(messages: Sequence[Wire]) -> list[Wire]:
    """Return messages in which all calls are of functions, and all results are texts.

    Few servers take pictures in a result: they follow in a message of the user's.
    """
    sent: list[Wire] = []
    shown: list[Any] = []
    for wire in messages:
        role = wire.get("role")
        if role == "tool":
            result, parts = _text_only(wire)
            sent.append(result)
            shown += parts
            continue
        if shown:
            sent.append({"role": "user", "content": shown})
            shown = []
        if role == "assistant" and isinstance(calls := wire.get("tool_calls"), list):
            wire = {**wire, "tool_calls": [_function_call(call) for call in calls]}
        sent.append(wire)
    return [*sent, {"role": "user", "content": shown}] if shown else sent


def with_chat_calls(wire: Wire) -> Wire:
    """Return a stored message with the calls that chat completions have: of functions, and of custom tools."""
    calls = wire.get("tool_calls")
    if not isinstance(calls, list) or not any(_is_foreign(call) for call in calls):
        return wire
    return {**wire, "tool_calls": [_function_call(call) if _is_foreign(call) else call for call in calls]}


def _is_foreign(call: Any) -> bool:
    if not isinstance(call, Mapping):
        return False
    inner = call.get("function") or call.get("custom")
    return LOCAL_SHELL in call or (isinstance(inner, Mapping) and "namespace" in inner)


def _function_call(call: Any) -> Any:
    if not isinstance(call, Mapping):
        return call
    function: dict[str, Any]
    match call:
        case {"custom": {"name": str(name), "input": str(text)}}:
            namespace = _text(call["custom"].get("namespace"))
            function = {"name": chat_name(name, namespace), "arguments": json.dumps({INPUT: text})}
        case {"function": {"name": str(name), "namespace": str(namespace)}}:
            function = {"name": chat_name(name, namespace), "arguments": call["function"].get("arguments")}
        case {"local_shell": {"action": action}} if isinstance(action, Mapping):
            arguments = {field: value for field, value in action.items() if field != "type" and value is not None}
            function = {"name": LOCAL_SHELL, "arguments": json.dumps(arguments)}
        case _:
            return call
    return {"id": call.get("id"), "type": "function", "function": function}


def _text_only(wire: Wire) -> tuple[Wire, list[Any]]:
    """Return a result with its texts as one text, and its other parts."""
    content = wire.get("content")
    if not isinstance(content, list):
        return wire, []
    texts = [part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
    others = [part for part in content if not (isinstance(part, Mapping) and isinstance(part.get("text"), str))]
    return {**wire, "content": "\n".join(texts) or IN_NEXT_MESSAGE}, others


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
