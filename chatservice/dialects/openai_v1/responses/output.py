"""Builds the output of a response from an answer's deltas, one event after the other. Pure and deterministic.

The same deltas give the same events with the same numbers, whoever reads them and when: `readers.subscribe` yields one
delta for each stored chunk if it is asked not to merge them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from chatservice.dialects.openai_v1.items import (
    RAW,
    ItemIds,
    inner_of,
    new_call,
    objects,
    output_annotations,
    payload_of,
    raw_item,
    refusal_part,
    text_part,
)
from chatservice.dialects.openai_v1.responses.canonical import canonical
from chatservice.dialects.openai_v1.responses.reasoning import Emit, Reasoning, thoughts_of
from chatservice.dialects.openai_v1.responses.tools import Tool
from completions.types import Delta, Wire

ITEM_ADDED, ITEM_DONE = "response.output_item.added", "response.output_item.done"
PART_ADDED, PART_DONE = "response.content_part.added", "response.content_part.done"
PREFIXES = {"custom": "ctc", "local_shell": "lsh"}
ONLY_TEXT = {"content"}
DELTAS = {"function_call": "function_call_arguments", "custom_tool_call": "custom_tool_call_input"}


class Output:
    """The items of a response so far. `emit` is called with the type and the fields of each event."""

    def __init__(
        self, message_id: uuid.UUID, emit: Emit, *, logprobs: bool = False, tools: Sequence[Tool] = ()
    ) -> None:
        self.items: list[dict[str, Any]] = []
        self._ids = ItemIds(message_id)
        self._emit = emit
        self._with_logprobs = logprobs
        self._reasoning: Reasoning | None = None
        self._message: int | None = None
        self._open_text: tuple[dict[str, Any], dict[str, Any]] | None = None
        self._calls: dict[Any, int] = {}
        self._nameless: dict[Any, Wire] = {}  # calls of which no id is known yet
        self._tools = {tool.chat_name: tool for tool in tools}
        self._called: dict[int, Tool] = {}
        self._arguments: dict[int, str] = {}
        """The arguments so far of calls to tools that are not functions, by the index of the item."""

    def feed(self, delta: Delta) -> None:
        if not delta.wire:
            if delta.text:
                self._text(delta.text, ())
            return
        for chunk in delta.wire:
            for choice in objects(chunk.get("choices")):
                if not choice.get("index") and isinstance(choice.get("delta"), Mapping):
                    self._choice(choice["delta"], choice.get("logprobs"))

    def close(self, status: str = "completed") -> None:
        """End what is open; `status` is that of the items that have not ended yet."""
        self._close_reasoning()
        self._close_message(status)
        for key, call in self._nameless.items():
            self._calls[key] = self._add_call(call)
        self._nameless.clear()
        for index in self._calls.values():
            self._close_call(index, status)
        self._calls.clear()

    def _choice(self, delta: Wire, logprobs: Any) -> None:
        is_text = delta.keys() == ONLY_TEXT  # almost every chunk of an answer: there is nothing else to look for
        if not is_text:
            self._think(delta)
        text, refusal = delta.get("content"), delta.get("refusal")
        if isinstance(text, str) and text:
            self._text(text, _logprobs(logprobs) if self._with_logprobs else ())
        if is_text:
            return
        if isinstance(refusal, str) and refusal:
            self._refuse(refusal)
        for annotation in output_annotations(delta.get("annotations")):
            self._annotate(canonical(annotation))
        for item in objects(delta.get(RAW)):
            if isinstance(item.get("type"), str):
                self._raw(canonical(raw_item(item, self._ids)))
        for call in objects(delta.get("tool_calls")):
            index = call.get("index")
            self._call(index if isinstance(index, int) else len(self._calls), call)
        if isinstance(function := delta.get("function_call"), Mapping):
            self._call("function_call", {"id": self._ids.nameless_call, "function": function})

    # --- reasoning

    def _think(self, delta: Wire) -> None:
        for thought in thoughts_of(delta):
            if self._reasoning is not None and thought.own_id not in ("", self._reasoning.own_id):
                self._close_reasoning()
            if self._reasoning is None:
                self._close_message("completed")
                self._reasoning = Reasoning(thought.own_id, self._ids, self.items, self._emit)
            self._reasoning.feed(thought)

    def _close_reasoning(self) -> None:
        if self._reasoning is not None:
            self._reasoning.close()
            self._reasoning = None

    # --- the message

    def _open_message(self) -> tuple[dict[str, Any], int]:
        if self._message is None:
            self._close_reasoning()
            item = {"id": self._ids.next("msg"), "type": "message", "role": "assistant", "status": "in_progress"}
            self._message = self._add({**item, "content": []})
        return self.items[self._message], self._message

    def _open_part(self, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the open part of this type, a new one if another type is open, and its place."""
        item, index = self._open_message()
        content = item["content"]
        if content and content[-1]["type"] != kind:
            self._close_part(item, index)
        place = {"item_id": item["id"], "output_index": index}
        if not content or content[-1]["type"] != kind:
            content.append(text_part("") if kind == "output_text" else refusal_part(""))
            self._emit(PART_ADDED, **place, content_index=len(content) - 1, part=_copy(content[-1]))
        return content[-1], {**place, "content_index": len(content) - 1}

    def _text(self, text: str, logprobs: Sequence[Wire]) -> None:
        if self._open_text is None:
            self._open_text = self._open_part("output_text")
        part, place = self._open_text
        part["text"] += text
        part["logprobs"] += logprobs
        self._emit("response.output_text.delta", **place, delta=text, logprobs=list(logprobs))

    def _refuse(self, text: str) -> None:
        part, place = self._open_part("refusal")
        part["refusal"] += text
        self._emit("response.refusal.delta", **place, delta=text)

    def _annotate(self, annotation: dict[str, Any]) -> None:
        part, place = self._open_part("output_text")
        number = len(part["annotations"])
        part["annotations"].append(annotation)
        self._emit("response.output_text.annotation.added", **place, annotation_index=number, annotation=annotation)

    def _close_part(self, item: dict[str, Any], index: int) -> None:
        self._open_text = None
        part = item["content"][-1]
        place = {"item_id": item["id"], "output_index": index, "content_index": len(item["content"]) - 1}
        if part["type"] == "refusal":
            self._emit("response.refusal.done", **place, refusal=part["refusal"])
        else:
            self._emit("response.output_text.done", **place, text=part["text"], logprobs=list(part["logprobs"]))
        self._emit(PART_DONE, **place, part=_copy(part))

    def _close_message(self, status: str) -> None:
        if self._message is None:
            return
        index, self._message = self._message, None
        item = self.items[index]
        if item["content"]:
            self._close_part(item, index)
        item["status"] = status
        self._emit(ITEM_DONE, output_index=index, item=_copy(item))

    # --- calls, and items of hosted tools

    def _call(self, key: Any, call: Wire) -> None:
        text = _payload(call)
        if key in self._calls:
            self._continue_name(self._calls[key], inner_of(call).get("name"))
        else:
            call = _joined(self._nameless.pop(key, {}), call)
            if not call.get("id") and not text:
                self._nameless[key] = call  # clients look at the id as soon as a call begins
                return
            self._close_reasoning()
            self._close_message("completed")
            self._calls[key] = self._add_call(call)
        index = self._calls[key]
        item = self.items[index]
        if index in self._arguments:
            self._arguments[index] += text
        elif text:
            item[payload_of(item)] += text
            kind = DELTAS[item["type"]]
            self._emit(f"response.{kind}.delta", item_id=item["id"], output_index=index, delta=text)

    def _continue_name(self, index: int, name: Any) -> None:
        item = self.items[index]
        if index not in self._called and isinstance(name, str) and name != item["name"]:
            item["name"] += name

    def _add_call(self, call: Wire) -> int:
        """Add the item of a call: of the tool that was asked for, if the model's server knows it as a function."""
        tool = None if call.get("custom") else self._tools.get(str(inner_of(call).get("name")))
        if tool is None:
            return self._add(new_call(call, self._ids, "in_progress"))
        if tool.kind == "function":
            named = {"name": tool.name, **({"namespace": tool.namespace} if tool.namespace else {})}
            index = self._add({**new_call(call, self._ids, "in_progress"), **named})
        else:
            index = self._add(tool.item(self._ids.next(PREFIXES[tool.kind]), str(call.get("id") or "")))
            self._arguments[index] = ""
        self._called[index] = tool
        return index

    def _close_call(self, index: int, status: str) -> None:
        item = self.items[index]
        item["status"] = status
        place = {"item_id": item["id"], "output_index": index}
        kind = DELTAS.get(item["type"])
        if (arguments := self._arguments.pop(index, None)) is not None:
            self._called[index].fill(item, arguments)
            if kind and item["input"]:
                self._emit(f"response.{kind}.delta", **place, delta=item["input"])
        if kind:
            payload = payload_of(item)
            named = {"name": item["name"]} if payload == "arguments" else {}
            self._emit(f"response.{kind}.done", **place, **named, **{payload: item[payload]})
        self._emit(ITEM_DONE, output_index=index, item=_copy(item))

    def _raw(self, item: dict[str, Any]) -> None:
        self._close_reasoning()
        self._close_message("completed")
        index = self._add(item)
        self._emit(ITEM_DONE, output_index=index, item=item)

    def _add(self, item: dict[str, Any]) -> int:
        self.items.append(item)
        self._emit(ITEM_ADDED, output_index=len(self.items) - 1, item=_copy(item))
        return len(self.items) - 1


def _payload(call: Wire) -> str:
    inner = inner_of(call)
    text = inner.get("arguments") or inner.get("input")
    return text if isinstance(text, str) else ""


def _joined(before: Wire, call: Wire) -> Wire:
    """Return a call with what was known of it before; its name may have come in parts."""
    names = [inner_of(each).get("name") for each in (before, call)]
    kind = "custom" if call.get("custom") or before.get("custom") else "function"
    name = "".join(dict.fromkeys([name for name in names if isinstance(name, str)]))
    return {**before, **call, kind: {**inner_of(before), **inner_of(call), "name": name}}


def _logprobs(logprobs: Any) -> list[dict[str, Any]]:
    """Return the log probabilities of a chat completion's choice as those of an output text."""
    found = objects(logprobs.get("content")) if isinstance(logprobs, Mapping) else []
    return [{**_token(each), "top_logprobs": [*map(_token, objects(each.get("top_logprobs")))]} for each in found]


def _token(each: Wire) -> dict[str, Any]:
    return {"token": each.get("token"), "logprob": canonical(each.get("logprob")), "bytes": each.get("bytes") or []}


def _copy(value: Any) -> Any:
    """Return a copy down to the parts, which grow later."""
    if isinstance(value, dict):
        return {name: [*map(_copy, each)] if isinstance(each, list) else each for name, each in value.items()}
    return value
