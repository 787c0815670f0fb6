"""The events of a response are a valid stream whatever the model sends, and the same whoever reads them."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st

from chatservice.dialects.openai_v1.items import items_of
from chatservice.dialects.openai_v1.responses.shapes import Head
from chatservice.dialects.openai_v1.responses.stream import ResponseEvents, frame
from chatservice.dialects.openai_v1.tests.replay import replay
from completions.assembly import Assembly
from completions.types import Delta, RunFinished, merge, plain_chunk, portions

ID = uuid.UUID(int=7)
NOW = dt.datetime(2026, 11, 28, tzinfo=dt.UTC)

texts = st.text("ab ö🙂\n", max_size=5)
junk: st.SearchStrategy[Any] = st.sampled_from(
    (None, True, 3, -0.0, 1e30, "", "a", [], {}, [None], ["a", {}], {"type": "x", "x": {}}, [{"id": []}])
)


def fields(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


details = fields(
    type=st.sampled_from(("reasoning.text", "reasoning.summary", "reasoning.encrypted", "odd")),
    id=st.sampled_from(("rs_a", "rs_b", None)),
    index=st.integers(0, 2),
    text=texts,
    summary=texts,
    data=texts,
)
functions = fields(name=st.sampled_from(("f", "get_", "weather")), arguments=texts)
calls = st.fixed_dictionaries(
    {"index": st.integers(0, 2)},
    optional={"id": st.sampled_from(("c1", "c2")), "function": functions, "custom": fields(name=texts, input=texts)},
)
citation = {"url": "https://example.com/", "title": "Example", "start_index": 0, "end_index": 1}
citations: st.SearchStrategy[Any] = st.sampled_from(
    (
        {"type": "url_citation", "url_citation": citation, "index": 0},
        {"type": "url_citation", **citation},
        {"type": "file_citation", "file_id": "file-1", "filename": "a.txt", "index": 0},
    )
)
raw_items = st.builds(
    lambda number: {
        "id": f"ws_{number}",
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": "x"},
    },
    st.integers(0, 10**9),
)
choices = fields(
    content=texts,
    refusal=texts,
    reasoning=texts,
    reasoning_content=texts,
    reasoning_details=st.lists(details, max_size=3),
    annotations=st.lists(citations, max_size=2),
    response_items=st.lists(raw_items, max_size=1),
    tool_calls=st.lists(calls, max_size=3),
    function_call=functions,
)
scores = st.none() | st.builds(
    lambda token, logprob: {"content": [{"token": token, "logprob": logprob, "bytes": None, "top_logprobs": []}]},
    texts,
    st.sampled_from((-0.5, -0.0, -1e-07)),
)
chunks = st.builds(
    lambda delta, index, logprobs: {"choices": [{"index": index, "delta": delta, "logprobs": logprobs}]},
    choices,
    st.sampled_from((0, 0, 0, 1)),
    scores,
)
deltas = st.lists(
    st.builds(Delta, texts) | st.builds(lambda wire: Delta("", tuple(wire)), st.lists(chunks, min_size=1, max_size=2)),
    max_size=8,
)
hostile = st.dictionaries(
    st.sampled_from(
        ("content", "refusal", "reasoning", "reasoning_content", "reasoning_details", "annotations")
        + ("response_items", "tool_calls", "function_call", "role")
    ),
    junk
    | st.lists(
        st.dictionaries(
            st.sampled_from(("id", "index", "function", "custom", "data", "text", "summary", "type")), junk, max_size=3
        ),
        max_size=2,
    ),
    max_size=4,
)


def events_from(given_deltas: list[Delta], finished: RunFinished | None = None, **echo: Any) -> ResponseEvents:
    events = ResponseEvents(Head(ID, ID, NOW, "m", echo))
    for delta in given_deltas:
        events.collect(delta)
    events.collect(finished or RunFinished("complete", finish_reason="stop", finished_at=NOW))
    return events


def output_of(given_deltas: list[Delta]) -> list[dict[str, Any]]:
    return events_from(given_deltas).response("completed")["output"]


def said(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return what these items say, without the names of the items and the borders of their parts."""
    told: list[tuple[str, str]] = []
    for item in items:
        for part in [*item.get("summary", ()), *item.get("content", ())]:
            if text := part.get("text") or part.get("refusal"):
                told.append((part["type"], text))
        for name in ("arguments", "input", "encrypted_content"):
            if item.get(name):
                told.append((name, item[name]))
    return told


class OutputTest(SimpleTestCase):
    @given(deltas, st.sampled_from(("complete", "cancelled", "interrupted", "failed")), st.booleans(), st.booleans())
    @settings(max_examples=60, deadline=None)
    def test_any_order_of_deltas_is_a_valid_stream(self, some, status, background, scored):
        include = ["message.output_text.logprobs"] if scored else []
        finished = RunFinished(status, finish_reason="stop", finished_at=NOW)
        known = replay(events_from(some, finished, background=background, include=include).take())
        assert known.end is not None
        for item in known.items:
            self.assertIn(item.get("status"), ("completed", "incomplete", None))

    @given(st.lists(hostile, max_size=5))
    @settings(max_examples=60, deadline=None)
    def test_no_delta_can_break_it(self, some):
        wires = [Delta("", ({"choices": [{"index": 0, "delta": delta, "logprobs": delta}]},)) for delta in some]
        events = events_from(wires, include=["message.output_text.logprobs"]).take()
        self.assertEqual([event["sequence_number"] for event in events], list(range(len(events))))
        self.assertEqual(events[-1]["type"], "response.completed")
        for event in events:
            frame(event)

    @given(deltas, st.data())
    @settings(max_examples=40, deadline=None)
    def test_the_output_does_not_depend_on_how_the_text_was_cut(self, some, data):
        expected = output_of(some)
        self.assertEqual(output_of(portions(some) if some else []), expected)
        whole = [merge(some)] if some else []
        self.assertEqual(output_of(whole), expected)
        cut: list[Delta] = []
        for delta in some:
            at = data.draw(st.integers(0, len(delta.text)))
            cut += [delta] if delta.wire else [Delta(delta.text[:at]), Delta("", (plain_chunk(delta.text[at:]),))]
        self.assertEqual(output_of(cut), expected)

    @given(deltas)
    @settings(max_examples=40, deadline=None)
    def test_the_frames_do_not_depend_on_the_order_in_which_a_database_returns_fields(self, some):
        def stored(value: Any) -> Any:
            text = json.dumps(value, sort_keys=True).replace("-0.0", "0.0").replace("1e+30", str(10**30))
            return json.loads(text)

        def bytes_of(given_deltas: list[Delta], echo: dict[str, Any]) -> bytes:
            include = ["message.output_text.logprobs"]
            return b"".join(map(frame, events_from(given_deltas, include=include, **echo).take()))

        parameters = {"type": "object", "a": {"minimum": -0.0, "maximum": 1e30, "b": [1.5, {"d": 1, "c": 2}]}}
        echo: dict[str, Any] = {"tools": [{"type": "function", "name": "f", "parameters": parameters}]}
        again = [Delta(delta.text, tuple(stored(delta.wire)), delta.seq, delta.end) for delta in some]
        self.assertEqual(bytes_of(again, stored(echo)), bytes_of(some, echo))

    @given(st.lists(choices, max_size=6))
    @settings(max_examples=40, deadline=None)
    def test_the_items_of_the_stored_message_say_as_much_as_the_stream(self, some):
        assembly = Assembly()
        wires = [{"choices": [{"index": 0, "delta": delta}]} for delta in some]
        assembly.feed(wires)
        text = "".join([delta.get("content", "") for delta in some])
        message = {"role": "assistant", "content": text, **(assembly.extras() or {})}
        streamed = said(output_of([Delta("", tuple(wires))]))
        for kind in ("output_text", "refusal"):
            kept = [text for each, text in said(items_of(message, message_id=ID)) if each == kind]
            self.assertEqual("".join(kept), "".join([text for each, text in streamed if each == kind]), kind)
