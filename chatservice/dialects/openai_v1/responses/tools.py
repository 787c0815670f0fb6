"""The tools of a Responses request: which a server of chat completions is told of, and whose calls its calls are. Pure.

Such a server knows functions alone, so custom tools, those in namespaces and the local shell are functions there
(`completions/chat_tools.py`). The calls that come back are those of the tools that were sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chatservice.dialects.problems import BadRequest
from completions.chat_tools import INPUT, LOCAL_SHELL, chat_name, custom_function, shell_function
from completions.types import Wire

OWN = ("function", "custom")
NAMESPACE = "namespace"
WITH_CHAT = frozenset({*OWN, NAMESPACE, LOCAL_SHELL})
"""The types of tools that work over any upstream, since the client runs them."""
OFFERED = frozenset({"web_search", "web_search_preview", "image_generation", "tool_search"})
"""Hosted tools that agents send along with their own, whatever the model can do."""
FIELDS = ("name", "description", "parameters", "strict")


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool that the client runs, and the `function` that it is in chat completions."""

    kind: str
    name: str
    namespace: str
    function: Mapping[str, Any]

    @property
    def chat_name(self) -> str:
        return str(self.function["name"])

    def item(self, item_id: str, call_id: str) -> dict[str, Any]:
        """Return the item of a call of a tool that is no function, before its arguments are known."""
        named = {"id": item_id, "type": f"{self.kind}_call", "call_id": call_id, "status": "in_progress"}
        if self.kind == LOCAL_SHELL:
            return {**named, "action": {"type": "exec", "command": [], "env": {}}}
        in_space = {"namespace": self.namespace} if self.namespace else {}
        return {**named, "type": "custom_tool_call", "name": self.name, **in_space, "input": ""}

    def fill(self, item: dict[str, Any], arguments: str) -> None:
        """Put what the model wrote as the function's arguments into such an item."""
        try:
            given = json.loads(arguments)
        except (ValueError, RecursionError):
            given = None
        if self.kind == LOCAL_SHELL:
            item["action"] = _action(given)
        else:
            text = given.get(INPUT) if isinstance(given, dict) else None
            item["input"] = text if isinstance(text, str) else arguments


def read_tools(tools: Iterable[Any]) -> list[Tool]:
    """Return the tools that the client runs; raises BadRequest naming the one that is wrong."""
    return [tool for number, given in enumerate(tools) for tool in _read(given, f"tools[{number}]")]


def hosted(body: Wire) -> tuple[list[str], list[str]]:
    """Return the types of tools that only an upstream with this API can run: the needed ones, and the others.

    A tool is needed if it is the chosen one, or if there is none of another kind. The others can be left out.
    """
    kinds = {str(tool.get("type")) for tool in body.get("tools") or () if isinstance(tool, Mapping)}
    others = kinds - WITH_CHAT
    choice = body.get("tool_choice")
    chosen = choice.get("type") if isinstance(choice, Mapping) else None
    offered = {kind for kind in others & OFFERED if kinds & WITH_CHAT and kind != chosen}
    return sorted(others - offered), sorted(offered)


def _read(given: Any, param: str, namespace: str = "") -> list[Tool]:
    if not isinstance(given, Mapping) or not isinstance(given.get("type"), str):
        raise _invalid(param, "must be an object with a 'type'")
    kind = given["type"]
    if kind == LOCAL_SHELL:
        return [Tool(kind, kind, "", shell_function())]
    if kind not in (*OWN, NAMESPACE):
        return []
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise _invalid(f"{param}.name", "must be the name of the tool")
    if kind == NAMESPACE:
        inner = given.get("tools")
        if namespace or not isinstance(inner, list):
            raise _invalid(f"{param}.tools", "must be a list of tools")
        return [tool for number, each in enumerate(inner) for tool in _read(each, f"{param}.tools[{number}]", name)]
    fields = custom_function(given) if kind == "custom" else given
    function = {field: fields[field] for field in FIELDS if fields.get(field) is not None}
    return [Tool(kind, name, namespace, {**function, "name": chat_name(name, namespace)})]


def _action(given: Any) -> dict[str, Any]:
    action = given if isinstance(given, dict) else {}
    command, env = action.get("command"), action.get("env")
    if isinstance(command, str):
        command = ["bash", "-lc", command]
    return {
        **{name: action[name] for name in ("timeout_ms", "user", "working_directory") if action.get(name) is not None},
        "type": "exec",
        "command": [str(each) for each in command] if isinstance(command, list) else [],
        "env": {str(name): str(value) for name, value in env.items()} if isinstance(env, dict) else {},
    }


def _invalid(param: str, must: str) -> BadRequest:
    return BadRequest(f"'{param}' {must}.", code="invalid_value", param=param)
