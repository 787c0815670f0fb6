"""Makes stored messages a history that strict servers accept, by the rules that OpenAI publishes for requests. Pure.

A stored branch may contain what no server takes back: calls that were cut off, results without a call, answers without
text, and fields that only answers have. What a stateless call sends is not changed: it goes out as its client wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from completions.chat_tools import with_functions_only
from completions.context import INSTRUCTIONS, RESULTS
from completions.types import Wire
from conversations.chat_wire import ROLES
from conversations.reasoning import REASONING

NO_RESULT = "There is no result: this call was not carried out."
NO_ANSWER = "(This answer was never finished.)"
NO_QUESTION = "(The conversation begins with your message.)"
_FIELDS = {
    "assistant": ("role", "content", "name", "tool_calls", "function_call"),
    "tool": ("role", "content", "tool_call_id"),
}

ITEM_FIELDS = ("response_items", "response_order")
ONLY_RESPONSES = (*REASONING, *ITEM_FIELDS)
"""Fields of assistant messages: reasoning of whoever wrote it, and items that are no chat messages."""

_Key = tuple[str, str]


def as_input(wire: Wire, *, role: str, text: str) -> Wire:
    """Return a message that a model wrote, or that was imported, with those fields only that a request can have.

    `role` replaces an unknown one. The `text` of an answer, also that of its refusal or its recording, is its content.
    Reasoning and citations stay here: the server that is asked now need not be the one that wrote them
    (`given_back.py` adds the reasoning that its writer wants back).
    """
    role = wire["role"] if wire.get("role") in ROLES else role
    sent = {name: wire[name] for name in _FIELDS.get(role, ("role", "content", "name")) if name in wire}
    sent["role"] = role
    if role == "assistant":
        audio = wire.get("audio")
        sent["content"] = text or (audio.get("transcript") if isinstance(audio, Mapping) else None) or None
    return sent


def without_items(wire: Wire) -> Wire:
    """Return a message without the items that are no part of a chat message, which a client may have stored in it."""
    if not any(name in wire for name in ITEM_FIELDS):
        return wire
    return {name: value for name, value in wire.items() if name not in ITEM_FIELDS}


def for_chat(messages: Sequence[Wire]) -> list[Wire]:
    """Return the messages of a Responses request for a server of another API: without what only that one knows.

    Instructions are the system's, the name that all servers know.
    """
    known = [_for_chat(wire) for wire in with_functions_only(messages)]
    return [wire for wire in known if wire.get("role") != "assistant" or _says_something(wire)]


def _for_chat(wire: Wire) -> Wire:
    if wire.get("role") != "assistant":
        return {**wire, "role": "system"} if wire.get("role") == "developer" else wire
    sent = {name: value for name, value in wire.items() if name not in ONLY_RESPONSES}
    if _is_blank(sent.get("content")) and "refusal" in sent:
        sent["content"] = sent.pop("refusal")
    return sent


def _says_something(wire: Wire) -> bool:
    return _has_calls(wire) or not _is_blank(wire.get("content")) or bool(wire.get("refusal") or wire.get("audio"))


def valid(messages: Sequence[Wire]) -> list[Wire]:
    """Return `messages` as a history in which each call is followed by its results, and no answer says nothing.

    A call of which no result is known is left out; if others of the same message have one, it gets a result that says
    so. Results without a call are left out, but for the last message, which then becomes a user's.
    """
    results = _results(messages)
    taken = {id(result) for of_message in results for result in of_message.values()}
    sent: list[Wire] = []
    for at, wire in enumerate(messages):
        is_last = at == len(messages) - 1
        if wire.get("role") in RESULTS:
            if is_last and id(wire) not in taken:
                sent.append({"role": "user", "content": wire.get("content") or ""})
        elif wire.get("role") == "assistant":
            sent += _answer(wire, results[at])
        elif is_last or not _is_blank(wire.get("content")):
            sent.append(wire)
    return sent


def alternating(messages: Sequence[Wire]) -> list[Wire]:
    """Return `messages` with all instructions in one at the beginning, and turns of users and assistants in turn.

    For servers whose chat template refuses anything else. Turns of one role are merged; where a turn is missing, one
    in brackets says so.
    """
    sent: list[Wire] = []
    for wire in [each for each in messages if each.get("role") in INSTRUCTIONS]:
        sent = [_merged(sent[0], wire)] if sent else [wire]
    turns: list[Wire] = []
    for wire in messages:
        role, before = wire.get("role"), turns[-1] if turns else {}
        if role in INSTRUCTIONS:
            continue
        if role == "assistant" and not turns:
            turns.append({"role": "user", "content": NO_QUESTION})
        elif role == "user" and before.get("role") in RESULTS:
            turns.append({"role": "assistant", "content": NO_ANSWER})
        elif role == before.get("role") and role not in RESULTS and not _has_calls(before):
            wire = _merged(turns.pop(), wire)
        turns.append(wire)
    return sent + turns


def _results(messages: Sequence[Wire]) -> list[dict[_Key, Wire]]:
    """Return for each message the results of its calls: the first one after it, unless the id was used again before."""
    found: list[dict[_Key, Wire]] = [{} for _ in messages]
    waiting: dict[_Key, int] = {}
    for at, wire in enumerate(messages):
        if wire.get("role") == "assistant":
            waiting |= dict.fromkeys(_calls(wire), at)
        elif wire.get("role") in RESULTS and (called := waiting.pop(_key_of_result(wire), None)) is not None:
            found[called][_key_of_result(wire)] = wire
    return found


def _key_of_result(wire: Wire) -> _Key:
    return str(wire["role"]), str(wire.get("tool_call_id" if wire["role"] == "tool" else "name"))


def _answer(wire: Wire, results: Mapping[_Key, Wire]) -> list[Wire]:
    """Return an answer with the results of its calls; without calls if no result is known; nothing if it is empty."""
    rest = {name: value for name, value in wire.items() if name not in ("tool_calls", "function_call")}
    if _is_blank(rest.get("content")):
        rest["content"] = rest.pop("refusal", None) or None
    if not results:
        return [rest] if rest["content"] or rest.get("audio") or rest.get("response_items") else []
    calls = _calls(wire)
    if isinstance(wire.get("tool_calls"), list):
        rest["tool_calls"] = list(calls.values())
    else:
        rest["function_call"] = next(iter(calls.values()))
    return [rest, *(_result(key, results.get(key)) for key in calls)]


def _result(key: _Key, wire: Wire | None) -> Wire:
    if wire is None:
        return {"role": key[0], "tool_call_id" if key[0] == "tool" else "name": key[1], "content": NO_RESULT}
    return wire if wire.get("content") is not None else {**wire, "content": ""}


def _has_calls(wire: Wire) -> bool:
    return bool(wire.get("tool_calls") or wire.get("function_call"))


def _calls(wire: Wire) -> dict[_Key, Wire]:
    """Return the calls of an answer that are complete, each under what its result names."""
    calls = wire.get("tool_calls")
    if isinstance(calls, list):
        found: dict[_Key, Wire] = {}
        for call in calls:
            if isinstance(call, Mapping) and _is_name(call.get("id")) and (whole := _whole_call(call)):
                found.setdefault(("tool", call["id"]), whole)
        return found
    function = _whole_function(wire.get("function_call"))
    return {("function", function["name"]): function} if function else {}


def _whole_call(call: Wire) -> Wire | None:
    custom = call.get("custom")
    if call.get("type") == "custom" and isinstance(custom, Mapping):
        return call if _is_name(custom.get("name")) and isinstance(custom.get("input"), str) else None
    if isinstance(call.get("local_shell"), Mapping):
        return call
    function = _whole_function(call.get("function"))
    return {"id": call["id"], "type": "function", "function": function} if function else None


def _whole_function(function: Any) -> Wire | None:
    """Return a function's name and its arguments, which are the text of a JSON object; None if they are not whole."""
    if not isinstance(function, Mapping) or not _is_name(function.get("name")):
        return None
    arguments = function.get("arguments") or "{}"
    try:
        if not isinstance(arguments, str) or not isinstance(json.loads(arguments), dict):
            return None
    except (ValueError, RecursionError):
        return None
    namespace = {"namespace": function["namespace"]} if _is_name(function.get("namespace")) else {}
    return {"name": function["name"], "arguments": arguments, **namespace}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_blank(content: Any) -> bool:
    if isinstance(content, list):
        return all(isinstance(item, Mapping) and _is_blank(item.get("text", item)) for item in content)
    return content is None or (isinstance(content, str) and not content.strip())


def _merged(first: Wire, second: Wire) -> Wire:
    merged = {**first, **second, "content": _joined(first.get("content"), second.get("content"))}
    if first.get("name") != second.get("name"):
        merged.pop("name", None)
    return merged


def _joined(first: Any, second: Any) -> Any:
    if _is_blank(first) or _is_blank(second):
        return first if _is_blank(second) else second
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [item for content in (first, second) for item in _items(content)]


def _items(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
