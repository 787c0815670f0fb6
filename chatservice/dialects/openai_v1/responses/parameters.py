"""Translates what a Responses request asks of the model into the parameters of a chat completion. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatservice.dialects.problems import BadRequest
from completions.types import Wire

SAME = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "user")
LOGPROBS = "message.output_text.logprobs"
MODES = ("none", "auto", "required")
OWN_TOOLS = ("function", "custom")


def chat_parameters(body: Wire) -> dict[str, Any]:
    """Return the parameters of the same question to a server of chat completions; raises BadRequest.

    `max_tokens` and not its newer name: the servers that know only that one are those with no Responses API.
    """
    found = {name: body[name] for name in SAME if body.get(name) is not None}
    if body.get("max_output_tokens") is not None:
        found["max_tokens"] = body["max_output_tokens"]
    if LOGPROBS in (body.get("include") or ()) or body.get("top_logprobs"):
        found["logprobs"] = True
        if body.get("top_logprobs"):
            found["top_logprobs"] = body["top_logprobs"]
    reasoning = body.get("reasoning")
    if isinstance(reasoning, Mapping) and reasoning.get("effort"):
        found["reasoning_effort"] = reasoning["effort"]
    text = body.get("text")
    if isinstance(text, Mapping):
        if text.get("verbosity"):
            found["verbosity"] = text["verbosity"]
        if response_format := _format(text.get("format")):
            found["response_format"] = response_format
    read = [_tool(tool, number) for number, tool in enumerate(body.get("tools") or ())]
    tools = [tool for tool in read if tool is not None]
    choice, allowed = _choice(body.get("tool_choice"))
    if allowed is not None:
        tools = [tool for tool in tools if (tool["type"], tool[tool["type"]]["name"]) in allowed]
    if tools:
        found["tools"] = tools
        if choice is not None:
            found["tool_choice"] = choice
        if body.get("parallel_tool_calls") is not None:
            found["parallel_tool_calls"] = body["parallel_tool_calls"]
    return found


def hosted_tools(body: Wire) -> list[str]:
    """Return the types of tools that only a server of the Responses API can run."""
    tools = [tool for tool in body.get("tools") or () if isinstance(tool, Mapping)]
    return sorted({str(tool.get("type")) for tool in tools} - {*OWN_TOOLS})


def _format(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if kind != "json_schema":
        raise _invalid("text.format.type", "must be text, json_object or json_schema")
    if not isinstance(value.get("name"), str) or not isinstance(value.get("schema"), Mapping):
        raise _invalid("text.format", "of type json_schema must have a 'name' and a 'schema'")
    schema = {name: value[name] for name in ("name", "schema", "strict", "description") if value.get(name) is not None}
    return {"type": "json_schema", "json_schema": schema}


def _tool(tool: Any, number: int) -> dict[str, Any] | None:
    if not isinstance(tool, Mapping) or not isinstance(tool.get("type"), str):
        raise _invalid(f"tools[{number}]", "must be an object with a 'type'")
    kind = tool["type"]
    if kind not in OWN_TOOLS:
        return None
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        raise _invalid(f"tools[{number}].name", "must be the name of the tool")
    rest = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": kind, kind: rest}


def _choice(choice: Any) -> tuple[Any, set[tuple[str, str]] | None]:
    """Return the choice for a server of chat completions, and the tools that are allowed if not all are.

    Few servers know `allowed_tools`, so the others are left out of the request.
    """
    if choice is None:
        return None, None
    if isinstance(choice, str):
        if choice not in MODES:
            raise _invalid("tool_choice", f"must be one of {', '.join(MODES)}, or an object")
        return choice, None
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    if kind in OWN_TOOLS and isinstance(choice.get("name"), str):
        return {"type": kind, kind: {"name": choice["name"]}}, None
    if kind == "allowed_tools":
        tools = choice.get("tools")
        if choice.get("mode") not in ("auto", "required") or not _are_named(tools):
            raise _invalid("tool_choice", "of type allowed_tools must have a 'mode' and a list of named 'tools'")
        return choice["mode"], {(tool["type"], tool.get("name", "")) for tool in tools}
    if isinstance(kind, str) and kind not in OWN_TOOLS:
        return None, None  # a hosted tool, which has been refused where nobody can run it
    raise _invalid("tool_choice", "must name a tool")


def _are_named(tools: Any) -> bool:
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        return False
    return all(
        isinstance(tool, Mapping) and isinstance(tool.get("type"), str) and isinstance(tool.get("name", ""), str)
        for tool in tools
    )


def _invalid(param: str, must: str) -> BadRequest:
    return BadRequest(f"'{param}' {must}.", code="invalid_value", param=param)
