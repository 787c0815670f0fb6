"""Translates what a Responses request asks of the model into the parameters of a chat completion. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chatservice.dialects.openai_v1.responses.tools import NAMESPACE, OWN, read_tools
from chatservice.dialects.problems import BadRequest
from completions.chat_tools import LOCAL_SHELL, chat_name
from completions.types import Wire

SAME = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "user")
LOGPROBS = "message.output_text.logprobs"
MODES = ("none", "auto", "required")


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
    tools = read_tools(body.get("tools") or ())
    choice, allowed = _choice(body.get("tool_choice"))
    if allowed is not None:
        tools = [tool for tool in tools if {(tool.kind, tool.name), (NAMESPACE, tool.namespace)} & allowed]
    if tools:
        found["tools"] = [{"type": "function", "function": dict(tool.function)} for tool in tools]
        if choice is not None:
            found["tool_choice"] = choice
        if body.get("parallel_tool_calls") is not None:
            found["parallel_tool_calls"] = body["parallel_tool_calls"]
    return found


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
    if kind in OWN and isinstance(choice.get("name"), str):
        return _named(chat_name(choice["name"], str(choice.get("namespace") or ""))), None
    if kind == LOCAL_SHELL:
        return _named(LOCAL_SHELL), None
    if kind == "allowed_tools":
        tools = choice.get("tools")
        if choice.get("mode") not in ("auto", "required") or not _are_named(tools):
            raise _invalid("tool_choice", "of type allowed_tools must have a 'mode' and a list of named 'tools'")
        return choice["mode"], {(tool["type"], tool.get("name", tool["type"])) for tool in tools}
    if isinstance(kind, str) and kind not in OWN:
        return None, None  # a hosted tool, which has been refused where nobody can run it
    raise _invalid("tool_choice", "must name a tool")


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _are_named(tools: Any) -> bool:
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        return False
    return all(
        isinstance(tool, Mapping) and isinstance(tool.get("type"), str) and isinstance(tool.get("name", ""), str)
        for tool in tools
    )


def _invalid(param: str, must: str) -> BadRequest:
    return BadRequest(f"'{param}' {must}.", code="invalid_value", param=param)
