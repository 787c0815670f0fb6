"""Items of the Responses API as chat messages. Pure.

One chat message is one turn: an answer's reasoning, its text and its calls are several items of one assistant message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chatservice.dialects.openai_v1.items import CALL_TYPES, ORDER, RAW, RESULT_TYPES, ROLES, parts_of
from chatservice.dialects.problems import BadRequest
from completions.providers.responses_input import rank
from completions.types import Wire

TEXT_PARTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")


def messages_from(items: Sequence[Any], *, where: str = "input") -> list[dict[str, Any]]:
    """Return the chat messages that these items are; raises BadRequest naming the item.

    References and compactions are to be replaced before (`responses/references.py`).
    """
    messages: list[dict[str, Any]] = []
    turn: dict[str, Any] | None = None  # the assistant message that the next item may still belong to
    for number, item in enumerate(items):
        param = f"{where}[{number}]"
        if not isinstance(item, Mapping):
            raise _invalid(param, "must be an object")
        kind = item.get("type") or "message"
        if not isinstance(kind, str):
            raise _invalid(f"{param}.type", "must be the type of an item")
        if kind == "message" and item.get("role") != "assistant":
            messages.append(
                {"role": _role(item, param), "content": content_from(item.get("content"), f"{param}.content")}
            )
            turn = None
        elif kind in RESULT_TYPES:
            messages.append(_result_from(item, param))
            turn = None
        else:
            if turn is None or not _belongs(kind, turn):
                turn = {"role": "assistant", "content": None}
                messages.append(turn)
            _ADDERS.get(kind, _add_raw)(turn, item, param)
            turn.setdefault(ORDER, []).append(kind)
    for message in messages:
        kinds = message.pop(ORDER, [])
        if kinds != sorted(kinds, key=rank):
            message[ORDER] = kinds
    return messages


def content_from(content: Any, param: str) -> Any:
    """Return the content of an input message as that of a chat message: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise _invalid(param, "must be a string or a list of parts")
    parts = [_part_from(part, f"{param}[{number}]") for number, part in enumerate(content)]
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part_from(part: Any, param: str) -> dict[str, Any]:
    if not isinstance(part, Mapping):
        raise _invalid(param, "must be an object")
    kind = part.get("type")
    if kind in TEXT_PARTS:
        if not isinstance(part.get("text"), str):
            raise _invalid(f"{param}.text", "must be a string")
        return {"type": "text", "text": part["text"]}
    if kind == "refusal":
        return {"type": "text", "text": str(part.get("refusal") or "")}
    if kind == "input_image":
        if not isinstance(part.get("image_url") or part.get("file_id"), str):
            raise _invalid(f"{param}.image_url", "must be a URL, or 'file_id' the id of a file")
        fields = {"url": part.get("image_url"), "detail": part.get("detail"), "file_id": part.get("file_id")}
        return {"type": "image_url", "image_url": {name: value for name, value in fields.items() if value}}
    if kind == "input_file":
        fields = {name: part.get(name) for name in ("file_id", "file_data", "file_url", "filename")}
        given = {name: value for name, value in fields.items() if value is not None}
        if not all(isinstance(value, str) for value in given.values()) or not given.keys() - {"filename"}:
            raise _invalid(param, "must have 'file_id', 'file_data' or 'file_url'")
        return {"type": "file", "file": given}
    if kind == "input_audio":
        return dict(part)
    raise _invalid(f"{param}.type", f"must be input_text, input_image or input_file, not {str(kind)[:50]!r}")


def _role(item: Wire, param: str) -> str:
    role = item.get("role")
    if role not in ROLES:
        raise _invalid(f"{param}.role", f"must be one of {', '.join(ROLES)}")
    return str(role)


def _result_from(item: Wire, param: str) -> dict[str, Any]:
    output = item.get("output")
    call_id = item.get("call_id")
    if call_id is None and item["type"] == "local_shell_call_output":
        call_id = item.get("id")  # as OpenAI's document has it
    if isinstance(output, list) and not output:
        output = ""
    content = output if isinstance(output, str) else content_from(output, f"{param}.output")
    if call_id is None and isinstance(item.get("name"), str):
        return _uncalled(item, content)
    if not isinstance(call_id, str) or not call_id:
        raise _invalid(f"{param}.call_id", "must be the id of a call")
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _uncalled(item: Wire, content: Any) -> dict[str, Any]:
    """Return what an agent tells the model in the name of a tool that nobody called, as a message of the user's."""
    named = ".".join(str(item[field]) for field in ("namespace", "name") if item.get(field))
    parts = parts_of(content)
    return {"role": "user", "content": [{"type": "text", "text": f"{named}:"}, *parts] if parts else f"{named}:"}


def _belongs(kind: str, turn: Wire) -> bool:
    """Tell whether an item of this type may follow in the same turn: reasoning, then text, then calls."""
    if kind in ("message", "reasoning"):
        return turn["content"] is None and not turn.get("tool_calls")
    return True


def _add_message(turn: dict[str, Any], item: Wire, param: str) -> None:
    content = item.get("content")
    if isinstance(content, list) and (refusal := _refusal_in(content)):
        # As chat completions have it: so what was refused is found again if it is resent.
        turn |= {"content": "", "refusal": refusal}
    else:
        turn["content"] = content_from(content, f"{param}.content") if content != [] else ""


def _refusal_in(content: list[Any]) -> str:
    """Return the text of a message that consists of nothing but a refusal."""
    [part, *rest] = content or [None]
    is_refusal = not rest and isinstance(part, Mapping) and part.get("type") == "refusal"
    return part["refusal"] if is_refusal and isinstance(part.get("refusal"), str) else ""


def _add_reasoning(turn: dict[str, Any], item: Wire, param: str) -> None:
    details = turn.setdefault("reasoning_details", [])
    named = {"id": item["id"]} if isinstance(item.get("id"), str) else {}
    for field, kind, name in (("summary", "reasoning.summary", "summary"), ("content", "reasoning.text", "text")):
        texts = item.get(field) or []
        for part in texts if isinstance(texts, list) else [None]:
            if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
                raise _invalid(f"{param}.{field}", "must be a list of texts")
            details.append({"type": kind, **named, name: part["text"]})
    if isinstance(item.get("encrypted_content"), str):
        details.append({"type": "reasoning.encrypted", **named, "data": item["encrypted_content"]})


def _add_call(turn: dict[str, Any], item: Wire, param: str) -> None:
    kind = CALL_TYPES[item["type"]]
    name = "arguments" if kind == "function" else "input"
    for field in ("call_id", "name", name):
        if not isinstance(item.get(field), str) or (field != name and not item[field]):
            raise _invalid(f"{param}.{field}", "must be a string")
    named = {"name": item["name"], name: item[name]}
    if isinstance(item.get("namespace"), str) and item["namespace"]:
        named["namespace"] = item["namespace"]
    turn.setdefault("tool_calls", []).append({"id": item["call_id"], "type": kind, kind: named})


def _add_local_shell(turn: dict[str, Any], item: Wire, param: str) -> None:
    call_id = item.get("call_id") or item.get("id")
    if not isinstance(call_id, str) or not isinstance(item.get("action"), Mapping):
        raise _invalid(param, "must have a 'call_id' and an 'action'")
    call = {"id": call_id, "type": "local_shell", "local_shell": {"action": dict(item["action"])}}
    turn.setdefault("tool_calls", []).append(call)


def _add_raw(turn: dict[str, Any], item: Wire, param: str) -> None:
    turn.setdefault(RAW, []).append(dict(item))


_ADDERS: dict[str, Callable[[dict[str, Any], Wire, str], None]] = {
    "message": _add_message,
    "reasoning": _add_reasoning,
    "function_call": _add_call,
    "custom_tool_call": _add_call,
    "local_shell_call": _add_local_shell,
}


def _invalid(param: str, must: str) -> BadRequest:
    return BadRequest(f"'{param}' {must}.", code="invalid_value", param=param)
