"""Rebuilds a response from its events, and tells where these break the rules of such a stream."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any, get_args

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter, ValidationError

from chatservice.testing import sse_events

TEXTS = {
    "response.output_text": ("content", "content_index", "text"),
    "response.refusal": ("content", "content_index", "refusal"),
    "response.reasoning_text": ("content", "content_index", "text"),
    "response.reasoning_summary_text": ("summary", "summary_index", "text"),
}
CALLS = {"response.function_call_arguments": "arguments", "response.custom_tool_call_input": "input"}
PARTS = {
    "response.content_part": ("content", "content_index"),
    "response.reasoning_summary_part": ("summary", "summary_index"),
}
ENDS = ("response.completed", "response.incomplete", "response.failed")


@functools.cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    """Return what checks the official client's types, by the names of the events."""
    events = get_args(get_args(ResponseStreamEvent)[0])
    found = {get_args(event.model_fields["type"].annotation)[0]: TypeAdapter(event) for event in events}
    return {**found, "response": TypeAdapter(Response)}


def untyped(kind: str, value: dict[str, Any]) -> str:
    """Return what the official client's types do not allow about an event or a response; empty if nothing."""
    if isinstance(value.get("response"), dict):
        value = {**value, "response": _with_known_code(value["response"])}
    try:
        _adapters()[kind].validate_python(_with_known_code(value))
    except ValidationError as error:
        return f"{[(each['loc'], each['msg']) for each in error.errors()]} in {value}"
    return ""


def _with_known_code(value: dict[str, Any]) -> dict[str, Any]:
    """Return a response with an error code of the document. The service has more of them, as its other APIs."""
    error = value.get("error")
    return {**value, "error": {**error, "code": "server_error"}} if error else value


class Replay:
    """What a client knows after some events. Wrong ones raise AssertionError."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.end: dict[str, Any] | None = None
        self.error = ""
        """Why the reading ended before the response did."""
        self._number = 0
        self._open: set[int] = set()
        self._open_parts: set[tuple[int, str, int]] = set()

    def feed(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        assert event["sequence_number"] == self._number, (event, self._number)
        self._number += 1
        assert self.end is None and not self.error, f"{kind} after the end"
        assert not (problem := untyped(kind, event)), problem
        name, _, step = kind.rpartition(".")
        if "response" in event:
            if kind in ENDS:
                assert not self._open and not self._open_parts, (self._open, self._open_parts)
                assert event["response"]["output"] == self.items
                self.end = event["response"]
        elif kind == "error":
            assert event["error"]["code"] == event["code"] and event["message"]
            self.error = event["code"]
        elif name == "response.output_item":
            self._item(step, event)
        elif name in PARTS:
            self._part(step, event, *PARTS[name])
        elif name in TEXTS:
            field, index, text = TEXTS[name]
            self._text(step, event, self._find(event)[field][event[index]], text, (field, event[index]))
        elif name in CALLS:
            self._text(step, event, self._find(event), CALLS[name], None)
        elif kind == "response.output_text.annotation.added":
            part = self._find(event)["content"][event["content_index"]]
            assert event["annotation_index"] == len(part["annotations"])
            part["annotations"].append(event["annotation"])
        else:
            raise AssertionError(f"{kind} is not known")

    def _item(self, step: str, event: dict[str, Any]) -> None:
        index = event["output_index"]
        if step == "added":
            assert index == len(self.items), "output indexes have no gaps"
            ours = {item["id"] for item in self.items if item["type"] != "web_search_call"}
            assert event["item"]["id"] not in ours, "an item is added once"
            self.items.append(json.loads(json.dumps(event["item"])))
            self._open.add(index)
            return
        assert not [part for part in self._open_parts if part[0] == index], "parts are done before their item"
        self._open.remove(index)
        # These are told at the end only.
        known = {**self.items[index], "status": event["item"].get("status")}
        known |= {name: event["item"][name] for name in ("encrypted_content", "name") if name in event["item"]}
        assert known == {"status": None, **event["item"]}, (known, event["item"])
        self.items[index] = event["item"]

    def _part(self, step: str, event: dict[str, Any], field: str, index: str) -> None:
        parts = self._find(event)[field]
        key = (event["output_index"], field, event[index])
        if step == "added":
            assert event[index] == len(parts)
            assert not [each for each in self._open_parts if each[0] == key[0]], "one part after the other"
            parts.append(json.loads(json.dumps(event["part"])))
            self._open_parts.add(key)
        else:
            self._open_parts.remove(key)
            assert parts[event[index]] == event["part"]

    def _text(self, step: str, event: dict[str, Any], known: dict[str, Any], field: str, part: Any) -> None:
        assert part is None or (event["output_index"], *part) in self._open_parts
        if step == "delta":
            assert event["delta"], "a delta says something"
            known[field] += event["delta"]
            if "logprobs" in event:
                known["logprobs"] += event["logprobs"]
        else:
            assert known[field] == event[field], (known, event)

    def _find(self, event: dict[str, Any]) -> dict[str, Any]:
        assert event["output_index"] in self._open
        item = self.items[event["output_index"]]
        assert item["id"] == event["item_id"]
        return item


def replay(events: Iterable[dict[str, Any]]) -> Replay:
    known = Replay()
    for event in events:
        known.feed(event)
    return known


def frames_of(body: str) -> list[str]:
    """Return the frames of a stream as they came, by their numbers; the last one is `[DONE]`."""
    frames = [frame for frame in body.split("\n\n") if frame and not frame.startswith(":")]
    assert frames[-1] == "data: [DONE]", frames[-1]
    return frames


def events_of(body: str) -> list[dict[str, Any]]:
    """Return the events of a stream, each of whose names is its type."""
    *events, last = sse_events(body)
    assert last["data"] == "[DONE]"
    found = [json.loads(event["data"]) for event in events]
    assert [event["event"] for event in events] == [event["type"] for event in found]
    return found
