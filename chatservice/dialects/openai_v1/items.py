"""Chat messages as items of the Responses API; item_parsing.py has the way back. Pure.

An item's id is a prefix and the hex of its message's id, with a number if the message has several items of a kind. One
chat message is one turn: an answer's reasoning, its text and its calls are several items of one assistant message.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from completions.types import Wire

ITEM_ID = re.compile(r"(?:msg|fc|fco|ctc|ctco|lsh|rs|cmp|item)_([0-9a-f]{32})(?:_\d+)?\Z", re.ASCII)
ROLES = ("user", "assistant", "system", "developer")
ORDER = "response_order"
"""The field with the types of the items of one turn, if it is not reasoning, hosted tools, text, calls."""
RAW = "response_items"
"""The field of an assistant message with items that no chat message can express, such as those of hosted tools."""
CALL_TYPES = {"function_call": "function", "custom_tool_call": "custom"}
IMAGE_DETAILS = ("auto", "low", "high", "original")
ANNOTATIONS: dict[str, dict[str, Any]] = {
    "url_citation": {"title": "", "start_index": 0, "end_index": 0},
    "file_citation": {"filename": "", "index": 0},
    "container_file_citation": {"filename": "", "start_index": 0, "end_index": 0},
    "file_path": {"index": 0},
}
"""The types of annotations that clients of this API know, with what model servers leave out."""
RESULT_TYPES = ("function_call_output", "custom_tool_call_output", "local_shell_call_output")


class ItemIds:
    """Names the items of one message: the first of a kind by the prefix and the message, the others with a number."""

    def __init__(self, message_id: uuid.UUID) -> None:
        self._hex = message_id.hex
        self.nameless_call = f"call_{self._hex}"
        """The id of a call that has none, as the calls of OpenAI's first models."""
        self._used: dict[str, int] = {}

    def next(self, prefix: str) -> str:
        number = self._used[prefix] = self._used.get(prefix, -1) + 1
        return f"{prefix}_{self._hex}_{number}" if number else f"{prefix}_{self._hex}"


def message_id_of(item_id: Any) -> uuid.UUID | None:
    """Return the id of the message that an item's id leads to; None for an id that is not ours."""
    match = ITEM_ID.match(item_id) if isinstance(item_id, str) else None
    return uuid.UUID(match[1]) if match else None


def items_of(wire: Wire, *, message_id: uuid.UUID, status: str = "completed") -> list[dict[str, Any]]:
    """Return the items of a stored chat message; `status` is completed, incomplete or in_progress."""
    ids = ItemIds(message_id)
    role = wire.get("role")
    if role in ("tool", "function"):
        return [_result_item(wire, ids)]
    if role != "assistant":
        content = [_input_part(part) for part in parts_of(wire.get("content"))]
        role = role if role in ROLES else "user"
        return [{"id": ids.next("msg"), "type": "message", "role": role, "status": status, "content": content}]
    items = reasoning_items(wire, ids)
    items += [raw_item(item, ids) for item in objects(wire.get(RAW)) if isinstance(item.get("type"), str)]
    content = output_parts(wire)
    calls = call_items(wire, ids, status)
    if content or not (items or calls):
        items.append(
            {"id": ids.next("msg"), "type": "message", "role": "assistant", "status": status, "content": content}
        )
    return in_order([*items, *calls], wire.get(ORDER))


def in_order(items: list[dict[str, Any]], kinds: Any) -> list[dict[str, Any]]:
    """Return `items` in the order of these types, and the others after them."""
    if not isinstance(kinds, list):
        return items
    left, ordered = list(items), []
    for kind in kinds:
        if (item := next((each for each in left if each["type"] == kind), None)) is not None:
            left.remove(item)
            ordered.append(item)
    return ordered + left


def raw_item(item: Wire, ids: ItemIds) -> dict[str, Any]:
    """Return an item that is stored as it came, with the id that it came with or else one of ours."""
    own_id = item.get("id")
    return {**item, "id": own_id if isinstance(own_id, str) and own_id else ids.next("item")}


def objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list, and none of anything else: clients store messages of any structure."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def parts_of(content: Any) -> list[Any]:
    """Return the content of a chat message as a list of parts."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content) if isinstance(content, list) else []


def output_parts(wire: Wire) -> list[dict[str, Any]]:
    """Return the text and the refusal of an answer as parts of an output message."""
    annotations = output_annotations(wire.get("annotations"))
    parts: list[dict[str, Any]] = []
    for part in parts_of(wire.get("content")):
        if isinstance(part, Mapping) and isinstance(part.get("refusal"), str):
            parts.append(refusal_part(part["refusal"]))
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            parts.append(text_part(part["text"], annotations))
            annotations = []
    if isinstance(refusal := wire.get("refusal"), str) and refusal:
        parts.append(refusal_part(refusal))
    return parts


def text_part(text: str, annotations: Iterable[Any] = (), logprobs: Iterable[Any] = ()) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": list(logprobs)}


def output_annotations(annotations: Any) -> list[dict[str, Any]]:
    """Return annotations of a chat message as those of an output text, without those that clients do not know."""
    return [_output_annotation(each) for each in objects(annotations) if str(each.get("type")) in ANNOTATIONS]


def _output_annotation(annotation: Wire) -> dict[str, Any]:
    kind = str(annotation["type"])
    inner = annotation.get(kind)  # chat completions have the fields in an object of their own
    given = inner if isinstance(inner, Mapping) else annotation
    flat = {"type": kind, **ANNOTATIONS[kind], **{name: value for name, value in given.items() if value is not None}}
    if kind == "url_citation":
        flat.pop("index", None)  # its number in a stream of chunks
    return flat


def refusal_part(text: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": text}


def reasoning_items(wire: Wire, ids: ItemIds) -> list[dict[str, Any]]:
    """Return what the model thought, one item for each id among its details."""
    items: dict[str, dict[str, Any]] = {}
    for detail in objects(wire.get("reasoning_details")):
        own_id = own_id_of(detail)
        if own_id not in items:
            items[own_id] = new_reasoning(own_id, ids)
        add_detail(items[own_id], detail)
    plain = wire.get("reasoning") or wire.get("reasoning_content")
    if isinstance(plain, str) and plain and not any(item["summary"] for item in items.values()):
        if not items:
            items[""] = new_reasoning("", ids)
        next(iter(items.values()))["summary"].append({"type": "summary_text", "text": plain})
    return list(items.values())


def own_id_of(detail: Wire) -> str:
    """Return the id that the model server gave to its reasoning, or an empty text."""
    return detail["id"] if isinstance(detail.get("id"), str) else ""


def new_reasoning(own_id: str, ids: ItemIds) -> dict[str, Any]:
    """Return an empty reasoning item; `own_id` is the model server's, which it wants back with encrypted reasoning.

    What was thought is its summary, never its content: clients read nothing else, and OpenAI and Open Responses
    have the same events for that alone.
    """
    named = own_id or ids.next("rs")
    return {"id": named, "type": "reasoning", "summary": []}


def add_detail(item: dict[str, Any], detail: Wire) -> None:
    """Add an element of `reasoning_details` to a reasoning item."""
    if isinstance(detail.get("summary"), str) and detail["summary"]:
        item["summary"].append({"type": "summary_text", "text": detail["summary"]})
    if isinstance(detail.get("text"), str) and detail["text"]:
        item["summary"].append({"type": "summary_text", "text": detail["text"]})
    if isinstance(detail.get("data"), str) and detail["data"]:
        item["encrypted_content"] = detail["data"]


def call_items(wire: Wire, ids: ItemIds, status: str) -> list[dict[str, Any]]:
    """Return an answer's calls of functions and of custom tools."""
    calls = objects(wire.get("tool_calls"))
    if not calls and isinstance(function := wire.get("function_call"), Mapping):
        calls = [{"id": ids.nameless_call, "function": function}]
    items = []
    for call in calls:
        item = new_call(call, ids, status)
        if item["type"] != "local_shell_call":
            key = payload_of(item)
            item[key] = str(inner_of(call).get(key) or "")
        items.append(item)
    return items


def new_call(call: Wire, ids: ItemIds, status: str) -> dict[str, Any]:
    """Return the item of a call, without its arguments."""
    if isinstance(shell := call.get("local_shell"), Mapping):
        called = {"call_id": str(call.get("id") or ""), "status": status}
        return {"id": ids.next("lsh"), "type": "local_shell_call", **called, "action": shell.get("action") or {}}
    inner = inner_of(call)
    named = {"call_id": str(call.get("id") or ""), "name": str(inner.get("name") or ""), "status": status}
    if isinstance(inner.get("namespace"), str):
        named["namespace"] = inner["namespace"]
    if isinstance(call.get("custom"), Mapping):
        return {"id": ids.next("ctc"), "type": "custom_tool_call", **named, "input": ""}
    return {"id": ids.next("fc"), "type": "function_call", **named, "arguments": ""}


def payload_of(item: Wire) -> str:
    """Return the field of a call's item that holds what the model wrote for the tool."""
    return "input" if item["type"] == "custom_tool_call" else "arguments"


def inner_of(call: Wire) -> Mapping[str, Any]:
    """Return the function or the custom tool that is called, with what it is given."""
    inner = call.get("custom") or call.get("function")
    return inner if isinstance(inner, Mapping) else {}


def _result_item(wire: Wire, ids: ItemIds) -> dict[str, Any]:
    content = wire.get("content")
    output = [_input_part(part) for part in content] if isinstance(content, list) else str(content or "")
    call_id = str(wire.get("tool_call_id") or wire.get("name") or "")
    return {
        "id": ids.next("fco"),
        "type": "function_call_output",
        "call_id": call_id,
        "output": output,
        "status": "completed",
    }


def _input_part(part: Any) -> dict[str, Any]:
    """Return a part of a chat message as a part of an input message."""
    if not isinstance(part, Mapping):
        return {"type": "input_text", "text": str(part)}
    match part.get("type"):
        case "text":
            return {"type": "input_text", "text": str(part.get("text") or "")}
        case "image_url":
            image = part.get("image_url")
            fields = dict(image) if isinstance(image, Mapping) else {"url": image}
            # Chat completions take any word.
            detail = fields.get("detail") if fields.get("detail") in IMAGE_DETAILS else "auto"
            return {"type": "input_image", "image_url": fields.get("url"), "detail": detail} | (
                {"file_id": fields["file_id"]} if fields.get("file_id") else {}
            )
        case "file":
            file = part.get("file")
            return {**(file if isinstance(file, Mapping) else {}), "type": "input_file"}
    return dict(part)
