"""Reads the events of a Responses stream as the chunks of a chat completion. Pure.

The API says everything several times: in deltas, at the end of a part, of its item and of the response. What comes
first is used, so a server may leave out any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from completions.providers.responses_input import rank
from completions.providers.responses_output import (
    chat_annotation,
    chat_envelope,
    chat_logprobs,
    chat_usage,
    finish_reason,
)
from completions.providers.whole_answers import CHUNK

Chunks = Iterator[dict[str, Any]]

# The types of calls, and the field of what the model wrote for the tool
_CALLS: Final = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}
# What is said in strings, by the events' names: the field of the chat message, and of the event where it is whole
_TEXTS: Final = {
    "output_text": ("content", "text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_summary_text": ("summary", "text"),
    "reasoning_text": ("text", "text"),
}
_REASONING: Final = ("summary", "text")
_BETWEEN: Final = "\n\n"


class ResponseChunks:
    """Turns the events of one answer into chunks, one after the other."""

    def __init__(self) -> None:
        self.envelope: dict[str, Any] = {}
        self.last_text: tuple[Any, ...] | None = None
        """Where the last delta of text belongs to."""
        # What was said of each item: the numbers of its parts, or None if it came in deltas.
        self._said: dict[tuple[str, Any], set[int] | None] = {}
        self._places: dict[str, int] = {}
        self._calls: dict[Any, tuple[int, str, str]] = {}
        self._details: dict[tuple[str, Any, int], int] = {}
        self._annotations = 0
        self._order: list[str] = []  # the types of the items

    def of(self, kind: str, event: dict[str, Any]) -> Chunks:
        """Yield the chunks that stand for an event whose type is `response.` and `kind`."""
        name, _, step = kind.rpartition(".")
        if name in _TEXTS and step in ("delta", "done"):
            yield from self._text(name, step, event)
        elif kind in ("function_call_arguments.delta", "custom_tool_call_input.delta"):
            yield from self._arguments(self._place(event), event.get("delta"))
        elif kind == "output_item.added":
            yield from self._call(self._place(event), item_of(event))
        elif kind == "output_item.done":
            yield from self._item(self._place(event), item_of(event))
        elif kind == "output_text.annotation.added":
            yield from self._annotate(self._place(event), [event.get("annotation")])
        elif isinstance(response := event.get("response"), dict) and not self.envelope:
            self.envelope = chat_envelope(response, CHUNK)
            if "id" in self.envelope:
                yield {**self.envelope, "choices": []}

    def rest(self, response: dict[str, Any]) -> Chunks:
        """Yield the chunks of a finished response of which nothing has been said yet."""
        yield from self.of("", {"response": response})
        output = response.get("output")
        if not self._said and isinstance(output, list):
            for place, item in enumerate(output):
                if isinstance(item, dict):
                    yield from self._item(place, item)

    def end(self, status: str, response: dict[str, Any]) -> Chunks:
        """Yield the closing chunks, and before them the order of the items if it is not the usual one."""
        if [*map(rank, self._order)] != sorted(map(rank, self._order)):
            yield self._chunk({"response_order": self._order})
        reason = finish_reason(response, status, calls=bool(self._calls))
        tier = {"service_tier": response["service_tier"]} if isinstance(response.get("service_tier"), str) else {}
        yield {**self._chunk({}, finish=reason), **tier}
        if (usage := chat_usage(response.get("usage"))) is not None:
            yield {**self.envelope, "choices": [], "usage": usage}

    def _chunk(self, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**self.envelope, "choices": [choice]}

    def _place(self, event: dict[str, Any]) -> Any:
        """Return what tells an item from the others: its number, or else its id."""
        number, item_id = event.get("output_index"), event.get("item_id") or item_of(event).get("id")
        number = number if type(number) is int else None
        if not isinstance(item_id, str):
            return number
        if number is not None:
            self._places[item_id] = number
            return number
        return self._places.get(item_id, item_id)

    # --- text, refusals, reasoning -------------------------------------------------------------

    def _text(self, name: str, step: str, event: dict[str, Any]) -> Chunks:
        field, whole = _TEXTS[name]
        place = self._place(event)
        number = event.get("summary_index" if field == "summary" else "content_index")
        part = number if type(number) is int else 0
        text, known = event.get("delta" if step == "delta" else whole), self._said.get((field, place), set())
        if step == "done" and (known is None or part in known):
            return
        yield from self._say(field, place, part, text, event.get("logprobs"), event.get("item_id"))
        if step == "delta":
            if text:
                self._said[field, place] = None
                self.last_text = where(event) if field == "content" else self.last_text
        elif known is not None:
            self._said[field, place] = known | {part}

    def _say(self, field: str, place: Any, part: int, text: Any, logprobs: Any = None, item_id: Any = None) -> Chunks:
        if not isinstance(text, str) or not text:
            return
        if field in _REASONING:
            yield self._reason(field, place, part, text, item_id)
            return
        if field == "content" and (field, place) not in self._said and any(name == field for name, _ in self._said):
            yield self._chunk({field: _BETWEEN})  # of another message of the same answer
        yield self._chunk({field: text}, chat_logprobs(logprobs))

    def _reason(self, field: str, place: Any, part: int, text: str, item_id: Any) -> dict[str, Any]:
        key = (field, place, part)
        is_next = key not in self._details and any(name in _REASONING for name, _, _ in self._details)
        before = _BETWEEN if is_next else ""
        detail = {**self._detail(key, field, item_id), field: text}
        return self._chunk({"reasoning": before + text, "reasoning_details": [detail]})

    def _detail(self, key: tuple[str, Any, int], kind: str, item_id: Any) -> dict[str, Any]:
        named = {"id": item_id} if isinstance(item_id, str) else {}
        number = self._details.setdefault(key, len(self._details))
        return {"type": f"reasoning.{kind}", **named, "index": number}

    def _annotate(self, place: Any, annotations: Any) -> Chunks:
        found = [chat_annotation(each) for each in annotations if isinstance(each, dict)]
        if found:
            self._said["annotations", place] = None
            first = self._annotations
            self._annotations += len(found)
            yield self._chunk({"annotations": [{**each, "index": first + at} for at, each in enumerate(found)]})

    # --- calls -----------------------------------------------------------------------------------

    def _call(self, place: Any, item: dict[str, Any]) -> Chunks:
        """Begin a call, unless it has begun or the item is none."""
        name = item.get("type")
        if not isinstance(name, str) or name not in _CALLS or place in self._calls:
            return
        kind, field = _CALLS[name]
        number = len(self._calls)
        self._calls[place] = number, kind, field
        call = {"index": number, "id": item.get("call_id") or item.get("id"), "type": kind}
        space = {"namespace": item["namespace"]} if item.get("namespace") else {}
        yield self._chunk({"tool_calls": [{**call, kind: {"name": item.get("name"), **space, field: ""}}]})

    def _arguments(self, place: Any, text: Any) -> Chunks:
        if not text or place not in self._calls:
            return
        number, kind, field = self._calls[place]
        self._said["call", place] = None
        yield self._chunk({"tool_calls": [{"index": number, kind: {field: text}}]})

    # --- items -----------------------------------------------------------------------------------

    def _item(self, place: Any, item: dict[str, Any]) -> Chunks:
        """Yield what has not been said of a finished item."""
        kind = item.get("type")
        if not isinstance(kind, str) or (place is not None and ("item", place) in self._said):
            return
        if kind == "message":
            yield from self._message(place, item)
        elif kind in _CALLS:
            yield from self._call(place, item)
            if ("call", place) not in self._said:
                yield from self._arguments(place, item.get(_CALLS[kind][1]))
        elif kind == "reasoning":
            yield from self._parts("summary", place, item.get("summary"), item.get("id"))
            yield from self._parts("text", place, item.get("content"), item.get("id"))
            if isinstance(data := item.get("encrypted_content"), str) and data:
                detail = self._detail(("encrypted", place, 0), "encrypted", item.get("id"))
                yield self._chunk({"reasoning_details": [{**detail, "data": data}]})
        else:
            yield self._chunk({"response_items": [item]})
        self._said["item", place] = None
        if kind != "reasoning" or any(at[1] == place for at in self._details):
            self._order.append(kind)

    def _message(self, place: Any, item: dict[str, Any]) -> Chunks:
        content = item.get("content")
        yield from self._parts("content", place, content)
        yield from self._parts("refusal", place, content, text="refusal")
        if ("annotations", place) not in self._said:
            for part in content if isinstance(content, list) else ():
                if isinstance(part, dict) and isinstance(part.get("annotations"), list):
                    yield from self._annotate(place, part["annotations"])

    def _parts(self, field: str, place: Any, parts: Any, item_id: Any = None, text: str = "text") -> Chunks:
        if (field, place) in self._said or not isinstance(parts, list):
            return
        for number, part in enumerate(parts):
            if isinstance(part, dict) and part.get(text):
                yield from self._say(field, place, number, part[text], part.get("logprobs"), item_id)
                self._said[field, place] = None


def where(event: dict[str, Any]) -> tuple[Any, ...]:
    """Return what an event of text belongs to."""
    return event.get("output_index"), event.get("content_index"), event.get("item_id")


def item_of(event: dict[str, Any]) -> dict[str, Any]:
    item = event.get("item")
    return item if isinstance(item, dict) else {}
