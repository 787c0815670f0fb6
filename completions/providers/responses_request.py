"""Turns requests in the vocabulary of chat completions into requests of the Responses API. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from completions.providers.responses_input import input_items
from completions.types import CompletionRequest, Wire

ENCRYPTED: Final = "reasoning.encrypted_content"
_LOGPROBS: Final = "message.output_text.logprobs"
# What the Responses API has under another name, and what it lacks.
_RENAMED: Final = frozenset(
    {"max_tokens", "max_completion_tokens", "response_format", "verbosity", "reasoning_effort", "logprobs"}
    | {"tools", "functions", "tool_choice", "function_call", "stream_options"}
)
_LACKING: Final = frozenset(
    {"n", "stop", "seed", "logit_bias", "frequency_penalty", "presence_penalty", "modalities", "audio", "prediction"}
)
_KINDS: Final = ("function", "custom")


def body_of_request(request: CompletionRequest, *, stream: bool) -> dict[str, Any]:
    """Return the body for `POST /responses`: nothing is stored there, and reasoning comes back encrypted."""
    rest = _translated(request.parameters) if request.native is None else dict(request.native)
    if not stream:
        rest.pop("stream_options", None)
    asked = rest.get("include")
    include = list(asked) if isinstance(asked, list | tuple) else []
    if ENCRYPTED not in include:
        include.append(ENCRYPTED)
    own = {"model": request.model, "input": input_items(request.messages), "stream": stream, "store": False}
    return {**rest, **own, "include": include}


def _translated(parameters: Wire) -> dict[str, Any]:
    """Return the parameters of a chat completion in the Responses API's words; unknown ones stay as they are."""
    body = {name: value for name, value in parameters.items() if name not in _RENAMED and name not in _LACKING}
    for name in ("max_tokens", "max_completion_tokens"):
        if parameters.get(name) is not None:
            body["max_output_tokens"] = parameters[name]
    text = {"format": _format(parameters.get("response_format")), "verbosity": parameters.get("verbosity")}
    _add(body, "text", text)
    _add(body, "reasoning", {"effort": parameters.get("reasoning_effort")})
    if tools := [
        *map(_tool, _objects(parameters.get("tools"))),
        *map(_function, _objects(parameters.get("functions"))),
    ]:
        body["tools"] = tools
    choice = parameters.get("tool_choice")
    if choice is None and (choice := parameters.get("function_call")) and isinstance(choice, Mapping):
        choice = {"type": "function", "function": choice}
    if choice is not None:
        body["tool_choice"] = _choice(choice)
    if parameters.get("logprobs"):
        body["include"] = [*_strings(body.get("include")), _LOGPROBS]
    else:
        body.pop("top_logprobs", None)
    options = parameters.get("stream_options")
    if isinstance(options, Mapping) and "include_obfuscation" in options:
        body["stream_options"] = {"include_obfuscation": options["include_obfuscation"]}
    return body


def _add(body: dict[str, Any], name: str, fields: dict[str, Any]) -> None:
    """Add the fields that have a value to an object of the body."""
    given = {key: value for key, value in fields.items() if value is not None}
    if given:
        known = body.get(name)
        body[name] = {**(known if isinstance(known, Mapping) else {}), **given}


def _format(wanted: Any) -> Any:
    schema = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
    return {"type": "json_schema", **schema} if isinstance(schema, Mapping) else wanted


def _tool(tool: Wire) -> dict[str, Any]:
    """Return a tool with its fields beside its type; a tool of another shape is the upstream's own."""
    kind = tool.get("type")
    inner = tool.get(kind) if kind in _KINDS and isinstance(kind, str) else None
    if not isinstance(inner, Mapping):
        return dict(tool)
    if kind == "function":
        return _function(inner)
    form = inner.get("format")
    if isinstance(form, Mapping) and isinstance(form.get("grammar"), Mapping):
        return {"type": kind, **inner, "format": {"type": form.get("type"), **form["grammar"]}}
    return {"type": kind, **inner}


def _function(function: Wire) -> dict[str, Any]:
    # Without `strict` a function is strict in this API, and not strict in chat completions.
    return {"type": "function", "parameters": None, **function, "strict": bool(function.get("strict"))}


def _choice(choice: Any) -> Any:
    if not isinstance(choice, Mapping):
        return choice
    kind = choice.get("type")
    inner = choice.get(kind) if isinstance(kind, str) else None
    if not isinstance(inner, Mapping):
        return choice
    if kind == "allowed_tools":
        tools = [_choice(tool) for tool in _objects(inner.get("tools"))]
        return {"type": kind, **inner, "tools": tools}
    return {"type": kind, "name": inner.get("name")}


def _objects(value: Any) -> list[Wire]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def _strings(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
