"""Builds a reasoning item of a response from what the model thought, part by part. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chatservice.dialects.openai_v1.items import ItemIds, new_reasoning, objects, own_id_of
from completions.types import Wire

Emit = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Thought:
    """Some text of one reasoning item, or what is encrypted of it."""

    text: str = ""
    part: Any = None
    """The number of the part that the text belongs to, if the model server numbers them."""
    own_id: str = ""
    encrypted: str = ""


def thoughts_of(delta: Wire) -> list[Thought]:
    """Return what a delta has of reasoning. Servers that send details repeat their text in a plain field."""
    thoughts = [thought for detail in objects(delta.get("reasoning_details")) for thought in _thoughts(detail)]
    plain = delta.get("reasoning") or delta.get("reasoning_content")
    detailed = "".join([thought.text for thought in thoughts])
    if not isinstance(plain, str) or not plain or (detailed and plain.endswith(detailed)):
        return thoughts
    own_id = next((thought.own_id for thought in thoughts if thought.own_id), "")
    return [Thought(plain, own_id=own_id), *(thought for thought in thoughts if not thought.text)]


def _thoughts(detail: Wire) -> list[Thought]:
    own_id, number, data = own_id_of(detail), detail.get("index"), detail.get("data")
    texts = [detail[name] for name in ("summary", "text") if isinstance(detail.get(name), str) and detail[name]]
    encrypted = [Thought(own_id=own_id, encrypted=data)] if isinstance(data, str) and data else []
    return [*(Thought(text, number, own_id) for text in texts), *encrypted]


class Reasoning:
    """One item, added to `items` and open until it is closed. What was thought is its summary, part by part."""

    def __init__(self, own_id: str, ids: ItemIds, items: list[dict[str, Any]], emit: Emit) -> None:
        self.own_id = own_id
        # A server that goes on with an item after something else has a second item of that name.
        is_taken = any(item.get("id") == own_id for item in items)
        self._item = new_reasoning("" if is_taken else own_id, ids)
        self._parts: list[dict[str, Any]] = self._item["summary"]
        self._place = {"item_id": self._item["id"], "output_index": len(items)}
        self._emit = emit
        self._part: Any = None  # the number that the model server gave to the last part
        items.append(self._item)
        self._emit("response.output_item.added", output_index=len(items) - 1, item=self._copy())

    def feed(self, thought: Thought) -> None:
        if thought.encrypted:
            self._item["encrypted_content"] = thought.encrypted
        if not thought.text:
            return
        if not self._parts or thought.part not in (None, self._part):
            self._close_part()
            self._part = thought.part
            self._parts.append({"type": "summary_text", "text": ""})
            self._emit("response.reasoning_summary_part.added", **self._last, part=dict(self._parts[-1]))
        self._parts[-1]["text"] += thought.text
        self._emit("response.reasoning_summary_text.delta", **self._last, delta=thought.text)

    def close(self) -> None:
        self._close_part()
        self._emit("response.output_item.done", output_index=self._place["output_index"], item=self._copy())

    def _close_part(self) -> None:
        if self._parts:
            self._emit("response.reasoning_summary_text.done", **self._last, text=self._parts[-1]["text"])
            self._emit("response.reasoning_summary_part.done", **self._last, part=dict(self._parts[-1]))

    @property
    def _last(self) -> dict[str, Any]:
        """Return where the last part is."""
        return {**self._place, "summary_index": len(self._parts) - 1}

    def _copy(self) -> dict[str, Any]:
        return {**self._item, "summary": [*map(dict, self._parts)]}
