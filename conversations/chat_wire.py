"""OpenAI's chat messages as they are stored: role, readable text, name, and typed parts. Pure, and lossless.

A message with a known role whose content is one plain text has no parts. The whole content of any other message is in
its parts, in its original order, reasoning first:

- `text`: `text`. Without `data` it is the whole content, a string; else `data` is the rest of an item of the list.
- `refusal`: `text`. Without `data` it is the field `refusal`; else `data` is the rest of an item of the list.
- `image`, `file`, `audio`: an item of the list, all of it in `data`; `file_id` is the key of the file that it refers
  to. The field `audio` of an answer has its transcript in `text` and the rest in `data["audio"]`.
- `reasoning`: `text`. `data` is null for the field `reasoning`, `{"field": "reasoning_content"}` for that one, and
  `{"detail": ...}` for an element of `reasoning_details`, whose own `text` is in the column.
- `tool_call`: `call_id`, `name` and, in `text`, the arguments. `data` has the call's other fields, or
  `{"raw": ...}` with all of a call of another structure, or `{"field": "function_call"}` for that field.
- `tool_result`: `call_id` and, in `text`, the content where that is a string.
- `citation`: an element of `annotations`, in `data["annotation"]`.
- `other`: `data["item"]` is an item of the list of no known type. In the last part of a message, `data["fields"]` has
  the fields that no part carries, and `data["missing"]` names the required ones that were not there.

Without any of these the content is the empty string. The fields that a message has on the chat wire besides role,
readable text and name are called its extras.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from conversations.file_parts import reference_in
from files.public_ids import key_of

Wire = Mapping[str, Any]

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MAX_NAME_CHARS = 200
_PLAIN = frozenset({"role", "content", "name"})
_REQUIRED = ("role", "content")
_ITEM_KINDS = {
    **dict.fromkeys(("text", "input_text", "output_text"), "text"),
    "refusal": "refusal",
    **dict.fromkeys(("image_url", "input_image", "image"), "image"),
    **dict.fromkeys(("file", "input_file"), "file"),
    **dict.fromkeys(("input_audio", "audio"), "audio"),
}


class PartLike(Protocol):
    """What a `Part` and a row of `MessagePart` have in common."""

    @property
    def kind(self) -> Any: ...
    @property
    def text(self) -> Any: ...
    @property
    def call_id(self) -> Any: ...
    @property
    def name(self) -> Any: ...
    @property
    def data(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a message, as a row of `MessagePart` stores it."""

    kind: str
    text: str = ""
    call_id: str = ""
    name: str = ""
    data: dict[str, Any] | None = None
    file_id: uuid.UUID | None = None


class Split(NamedTuple):
    """What is stored of a chat message. `content` is its readable text, or that of its refusal."""

    role: str
    content: str
    author: str
    parts: tuple[Part, ...]


def split(wire: Wire) -> Split:
    """Return what is stored of a chat message."""
    role, content, name = wire.get("role"), wire.get("content"), wire.get("name")
    author = str(name or "")[:MAX_NAME_CHARS]
    if _is_known(role) and isinstance(content, str) and wire.keys() <= _PLAIN and _is_plain_name(wire):
        return Split(str(role), content, author, ())
    return Split(str(role) if _is_known(role) else "user", _readable(wire), author, _parts(wire))


def join(role: str, author: str, parts: Iterable[PartLike]) -> dict[str, Any]:
    """Return the chat message that `split` turned into `parts`; there must be at least one."""
    wire: dict[str, Any] = {"role": role, "content": ""}
    if author:
        wire["name"] = author
    items: list[Any] = []
    for part in parts:
        data = part.data
        if part.kind == "other" and "item" not in data:
            wire |= data["fields"]
            for name in data.get("missing", ()):
                del wire[name]
        elif (item := _item_of(part)) is not None:
            items.append(item[0])
        else:
            _restore(wire, part)
    if items:
        wire["content"] = items
    return wire


def with_extras(role: str, content: str, author: str, extras: Wire | None) -> dict[str, Any]:
    """Return the chat message with these `extras`, as `extras_of` returns them."""
    wire: dict[str, Any] = {"role": role, "content": _text_beside(extras, content)}
    if author:
        wire["name"] = author
    return {**wire, **(extras or {})}


def extras_of(wire: Wire, *, role: str, content: str, author: str) -> dict[str, Any] | None:
    """Return the fields of a chat message that are not stored as role, text or name; None if there are none."""
    extras = {name: value for name, value in wire.items() if name not in _PLAIN}
    if wire.get("role") != role:
        extras["role"] = wire.get("role")
    if "name" in wire and not (author and wire["name"] == author):
        extras["name"] = wire["name"]
    if wire.get("content") != _text_beside(wire, content):
        extras["content"] = wire.get("content")
    return extras or None


def _text_beside(fields: Wire | None, content: str) -> str:
    """Return the `content` of a message with this readable text and no `content` in its extras."""
    return "" if fields and fields.get("refusal") == content else content


def text_and_extras(wire: Wire) -> tuple[str, dict[str, Any] | None]:
    """Return the readable text of a chat message, and its extras."""
    role, content, author, parts = split(wire)
    extras = extras_of(wire, role=str(wire.get("role")), content=content, author=author) if parts else None
    return content, extras


def _is_known(role: Any) -> bool:
    return isinstance(role, str) and role in ROLES


def _is_plain_name(wire: Wire) -> bool:
    return "name" not in wire or _fits(wire["name"])


def _fits(value: Any) -> bool:
    """Tell whether `value` fits into a column for names."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS


def _readable(wire: Wire) -> str:
    """Return the text of a message, from its content or else from its refusal."""
    content = wire.get("content")
    items = [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []
    if isinstance(content, str):
        text = content
    else:
        text = "\n".join([item["text"] for item in items if isinstance(item.get("text"), str)])
    refusals = [each.get("refusal") for each in (wire, *items)]
    return text or "\n".join([refusal for refusal in refusals if isinstance(refusal, str)])


def _parts(wire: Wire) -> tuple[Part, ...]:
    parts: list[Part] = []
    fields: dict[str, Any] = {}
    for name, value in sorted(wire.items(), key=lambda field: not field[0].startswith("reasoning")):
        split_field = _FIELDS.get(name)
        found = None if split_field is None else split_field(value, wire)
        if found is None:
            fields[name] = value
        else:
            parts += found
    missing = [name for name in _REQUIRED if name not in wire]
    if fields or missing or not parts:
        parts.append(Part("other", data={"fields": fields} | ({"missing": missing} if missing else {})))
    return tuple(parts)


def _split_role(value: Any, wire: Wire) -> list[Part] | None:
    return [] if _is_known(value) else None


def _split_name(value: Any, wire: Wire) -> list[Part] | None:
    return [] if _fits(value) else None


def _split_content(value: Any, wire: Wire) -> list[Part] | None:
    if isinstance(value, str):
        return [] if not value or _fits(wire.get("tool_call_id")) else [Part("text", value)]
    return [_split_item(item) for item in value] if isinstance(value, list) and value else None


def _split_item(item: Any) -> Part:
    named = item.get("type") if isinstance(item, dict) else None
    kind = _ITEM_KINDS.get(named) if isinstance(named, str) else None
    if kind in ("text", "refusal") and isinstance(item.get(kind), str):
        return Part(kind, item[kind], data=_without(item, kind))
    if kind in ("image", "file", "audio"):
        reference = reference_in(item)
        return Part(kind, data=dict(item), file_id=key_of(reference.file_id) if reference else None)
    return Part("other", data={"item": item})


def _item_of(part: PartLike) -> tuple[Any] | None:
    """Return the item of the `content` list that `part` was made from, in a tuple; None if it was another field."""
    data = part.data
    if not data:
        return None
    if part.kind in ("text", "refusal"):
        return ({**data, part.kind: part.text},)
    if part.kind == "other":
        return (data["item"],)
    return (data,) if part.kind in ("image", "file", "audio") and "type" in data else None


def _split_refusal(value: Any, wire: Wire) -> list[Part] | None:
    return [Part("refusal", value)] if isinstance(value, str) and value else None


def _split_reasoning(value: Any, wire: Wire) -> list[Part] | None:
    return [Part("reasoning", value)] if isinstance(value, str) and value else None


def _split_reasoning_content(value: Any, wire: Wire) -> list[Part] | None:
    return [Part("reasoning", value, data={"field": "reasoning_content"})] if _split_reasoning(value, wire) else None


def _split_reasoning_details(value: Any, wire: Wire) -> list[Part] | None:
    return [_split_detail(detail) for detail in value] if isinstance(value, list) and value else None


def _split_detail(detail: Any) -> Part:
    if isinstance(detail, dict) and isinstance(detail.get("text"), str) and detail["text"]:
        return Part("reasoning", detail["text"], data={"detail": _without(detail, "text")})
    return Part("reasoning", data={"detail": detail})


def _split_tool_calls(value: Any, wire: Wire) -> list[Part] | None:
    return [_split_call(call) for call in value] if isinstance(value, list) and value else None


def _split_call(call: Any) -> Part:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not _fits(function.get("name")) or not _fits(call.get("id")):
        return Part("tool_call", data={"raw": call})
    if call.get("type") != "function" or not isinstance(function.get("arguments"), str) or {"raw", "field"} & set(call):
        return Part("tool_call", data={"raw": call})
    rest = _without(call, "id", "type", "function")
    if more := _without(function, "name", "arguments"):
        rest["function"] = more
    return Part("tool_call", function["arguments"], call["id"], function["name"], rest or None)


def _call_of(part: PartLike) -> Any:
    data = part.data or {}
    if "raw" in data:
        return data["raw"]
    function = {"name": part.name, "arguments": part.text, **data.get("function", {})}
    return {"id": part.call_id, "type": "function", **data, "function": function}


def _split_function_call(value: Any, wire: Wire) -> list[Part] | None:
    if not isinstance(value, dict) or set(value) != {"name", "arguments"}:
        return None
    if not _fits(value["name"]) or not isinstance(value["arguments"], str):
        return None
    return [Part("tool_call", value["arguments"], name=value["name"], data={"field": "function_call"})]


def _split_tool_call_id(value: Any, wire: Wire) -> list[Part] | None:
    content = wire.get("content")
    return [Part("tool_result", content if isinstance(content, str) else "", value)] if _fits(value) else None


def _split_annotations(value: Any, wire: Wire) -> list[Part] | None:
    if not isinstance(value, list) or not value:
        return None
    return [Part("citation", data={"annotation": annotation}) for annotation in value]


def _split_audio(value: Any, wire: Wire) -> list[Part] | None:
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("transcript"), str) and value["transcript"]:
        return [Part("audio", value["transcript"], data={"audio": _without(value, "transcript")})]
    return [Part("audio", data={"audio": value})]


def _restore(wire: dict[str, Any], part: PartLike) -> None:
    """Set the field of `wire` that `part` was made from."""
    data = part.data or {}
    match part.kind:
        case "text":
            wire["content"] = part.text
        case "refusal":
            wire["refusal"] = part.text
        case "reasoning" if "detail" in data:
            detail = {**data["detail"], "text": part.text} if part.text else data["detail"]
            wire.setdefault("reasoning_details", []).append(detail)
        case "reasoning":
            wire[data.get("field", "reasoning")] = part.text
        case "tool_call" if "field" in data:
            wire[data["field"]] = {"name": part.name, "arguments": part.text}
        case "tool_call":
            wire.setdefault("tool_calls", []).append(_call_of(part))
        case "tool_result":
            wire["tool_call_id"] = part.call_id
            wire["content"] = part.text
        case "citation":
            wire.setdefault("annotations", []).append(data["annotation"])
        case "audio":
            wire["audio"] = {**data["audio"], "transcript": part.text} if part.text else data["audio"]
        case kind:
            raise ValueError(f"a message part of kind {kind!r} has no place in a chat message")


def _without(value: Wire, *names: str) -> dict[str, Any]:
    return {name: each for name, each in value.items() if name not in names}


_FIELDS: dict[str, Callable[[Any, Wire], list[Part] | None]] = {
    "role": _split_role,
    "content": _split_content,
    "name": _split_name,
    "refusal": _split_refusal,
    "reasoning": _split_reasoning,
    "reasoning_content": _split_reasoning_content,
    "reasoning_details": _split_reasoning_details,
    "tool_calls": _split_tool_calls,
    "function_call": _split_function_call,
    "tool_call_id": _split_tool_call_id,
    "annotations": _split_annotations,
    "audio": _split_audio,
}
