"""The events of a Responses stream are read as the chunks of a chat completion, however their bytes are split."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from unittest import TestCase

from hypothesis import given, settings
from hypothesis import strategies as st

from completions import exceptions as x
from completions.assembly import Assembly
from completions.providers.responses_parser import ResponseParser
from completions.tests.provider_case import told
from completions.tests.upstream_responses import (
    ANSWERS,
    CITATION,
    ERROR,
    RESPONSE_USAGE,
    SEARCH,
    Item,
    call,
    custom_call,
    events_of,
    frame,
    message,
    reasoning,
    response,
)
from completions.types import Delta, ProviderEvent, StreamFinished, StreamStarted

EVERYTHING = [
    reasoning("Fïrst 🙂.", "Then."),
    SEARCH,
    message("Sée 🙂 ", "the page"),
    message("Done.", item_id="msg_2", annotations=[CITATION]),
    call(1),
    custom_call(),
    call(2, "{}"),
]
CHAT_CITATION = {
    "type": "url_citation",
    "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 3},
}


def sse(events: list[dict[str, Any]], *, ascii_only: bool = False) -> bytes:
    return b"".join(frame(event, ascii_only=ascii_only) for event in events)


def parse(data: bytes, cuts: list[int] | None = None, **options: Any) -> tuple[list[ProviderEvent], ResponseParser]:
    parser = ResponseParser(**options)
    edges = [0, *sorted(cuts or []), len(data)]
    events = [event for start, end in pairwise(edges) for event in parser.feed(data[start:end])]
    return events + parser.end(), parser


def stored(events: list[ProviderEvent]) -> dict[str, Any]:
    """Return the message that is stored for an answer."""
    assembly = Assembly()
    for event in events:
        if isinstance(event, Delta | StreamFinished):
            assembly.feed(event.wire)
    return {"content": told(events), **(assembly.extras() or {})}


def finished(events: list[ProviderEvent]) -> StreamFinished:
    last = events[-1]
    assert isinstance(last, StreamFinished)
    assert sum(isinstance(event, StreamFinished) for event in events) == 1
    return last


def wire_text(events: list[ProviderEvent]) -> str:
    """The text that a dialect sends: a delta's chunks if it has any, otherwise its text."""
    texts = []
    for event in events:
        if isinstance(event, Delta):
            chunks = [choice["delta"].get("content") or "" for each in event.wire for choice in each["choices"]]
            texts.append("".join(chunks) if event.wire else event.text)
    return "".join(texts)


class ReadingTests(TestCase):
    def read(self, output: list[Item], **fields: Any) -> tuple[dict[str, Any], StreamFinished]:
        events, parser = parse(sse(events_of(output, **fields)))
        self.assertIsNone(parser.error)
        self.assertIsInstance(events[0], StreamStarted)
        self.assertEqual(wire_text(events), told(events))
        return stored(events), finished(events)

    def test_the_envelope_and_the_usage_are_those_of_chat_completions(self) -> None:
        events, _ = parse(sse(events_of(ANSWERS["ok"])))
        assert isinstance(events[0], StreamStarted)
        envelope = {"object": "chat.completion.chunk", "id": "resp_1", "created": 1_700_000_000, "model": "faulty-2026"}
        self.assertEqual(events[0].envelope, envelope)
        end = finished(events)
        usage = {
            "prompt_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens": 6,
            "completion_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 9,
        }
        self.assertEqual(end.usage, usage)
        last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
        self.assertEqual(end.wire[0], {**envelope, "service_tier": "default", "choices": [last]})
        self.assertEqual(end.wire[1], {**envelope, "choices": [], "usage": usage})

    def test_text_is_plain_and_nothing_is_told_twice(self) -> None:
        events, _ = parse(sse(events_of(ANSWERS["ok"])))
        self.assertEqual([event.wire for event in events if isinstance(event, Delta)], [()])
        self.assertEqual(told(events), "Hello wörld 🙂!")

    def test_calls_in_parallel(self) -> None:
        got, end = self.read([call(1), custom_call(), call(2, "{}")])
        calls = [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}},
            {"id": "call_c", "type": "custom", "custom": {"name": "patch", "input": "- a\n+ b"}},
            {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
        ]
        self.assertEqual((got["tool_calls"], end.finish_reason), (calls, "tool_calls"))

    def test_a_call_in_a_namespace(self) -> None:
        got, _ = self.read([{**call(), "namespace": "n"}])
        function = {"name": "weather", "namespace": "n", "arguments": '{"city": "Paris"}'}
        self.assertEqual(got["tool_calls"], [{"id": "call_1", "type": "function", "function": function}])

    def test_interleaved_calls_keep_their_arguments(self) -> None:
        events = events_of([call(1, '{"a": "bcdef"}'), call(2, '{"g": "hijkl"}')])
        first = [event for event in events if event.get("output_index") == 0]
        second = [event for event in events if event.get("output_index") == 1]
        mixed = [event for pair in zip(first, second, strict=True) for event in pair]
        got = stored(parse(sse([events[0], *mixed, events[-1]]))[0])
        arguments = [each["function"]["arguments"] for each in got["tool_calls"]]
        self.assertEqual(arguments, ['{"a": "bcdef"}', '{"g": "hijkl"}'])

    def test_reasoning_is_readable_and_can_be_given_back(self) -> None:
        got, _ = self.read([reasoning("First.", "Then."), reasoning("More.", item_id="rs_2"), message()])
        self.assertEqual(got["reasoning"], "First.\n\nThen.\n\nMore.")
        self.assertEqual(
            got["reasoning_details"],
            [
                {"type": "reasoning.summary", "id": "rs_1", "index": 0, "summary": "First."},
                {"type": "reasoning.summary", "id": "rs_1", "index": 1, "summary": "Then."},
                {"type": "reasoning.encrypted", "id": "rs_1", "index": 2, "data": "gAAA="},
                {"type": "reasoning.summary", "id": "rs_2", "index": 3, "summary": "More."},
                {"type": "reasoning.encrypted", "id": "rs_2", "index": 4, "data": "gAAA="},
            ],
        )
        got, _ = self.read([reasoning(), reasoning("More.", item_id="rs_2"), message()])
        self.assertEqual(got["reasoning"], "More.")
        got, _ = self.read(ANSWERS["thinking"])
        detail = {"type": "reasoning.text", "id": "rs_1", "index": 0, "text": "I think"}
        self.assertEqual((got["reasoning"], got["reasoning_details"]), ("I think", [detail]))

    def test_refusals_citations_log_probabilities_and_hosted_tools(self) -> None:
        self.assertEqual(self.read(ANSWERS["refusal"])[0], {"content": "", "refusal": "I cannot."})
        got, _ = self.read([SEARCH, {**SEARCH, "id": "ws_2"}, *ANSWERS["hosted"][1:]])
        self.assertEqual(got["response_items"], [SEARCH, {**SEARCH, "id": "ws_2"}])
        self.assertEqual((got["content"], got["annotations"]), ("See A", [CHAT_CITATION]))
        events, _ = parse(sse(events_of(ANSWERS["logprobs"])))
        (delta,) = [event for event in events if isinstance(event, Delta)]
        top = [{"token": "é", "logprob": -2.0, "bytes": [195, 169]}]
        token = {"token": "Hel", "logprob": -0.1, "bytes": [72, 101, 108], "top_logprobs": top}
        scored = delta.wire[0]["choices"][0]["logprobs"]
        self.assertEqual((delta.text, scored), ("Hel", {"content": [token], "refusal": None}))

    def test_an_unusual_order_is_noted(self) -> None:
        again = reasoning("Then.", item_id="rs_2")
        got, _ = self.read([reasoning("First."), SEARCH, again, message(), call(1)])
        order = ["reasoning", "web_search_call", "reasoning", "message", "function_call"]
        self.assertEqual(got["response_order"], order)
        self.assertNotIn("response_order", self.read([reasoning("First."), again, SEARCH, message(), call(1)])[0])
        silent = reasoning(encrypted=None)
        self.assertNotIn("response_order", self.read([SEARCH, silent, message()])[0])

    def test_two_messages_of_an_answer_are_two_paragraphs(self) -> None:
        self.assertEqual(self.read(ANSWERS["messages"])[0]["content"], "Now.\n\nDone.")

    def test_why_an_answer_is_incomplete(self) -> None:
        for reason, shown in (("max_output_tokens", "length"), ("content_filter", "content_filter"), (None, "length")):
            details = {"incomplete_details": {"reason": reason}}
            self.assertEqual(self.read(ANSWERS["ok"], status="incomplete", **details)[1].finish_reason, shown)

    def test_a_server_may_say_each_thing_only_once(self) -> None:
        whole, _ = parse(sse(events_of(EVERYTHING)))
        events = events_of(EVERYTHING)
        without_deltas = [event for event in events if not event["type"].endswith(".delta")]
        only_items = [event for event in events if event["type"] == "response.output_item.done"]
        unnumbered = [{k: v for k, v in event.items() if k != "output_index"} for event in events]
        for sent in (without_deltas, [*only_items, events[-1]], events[-1:], unnumbered, [*events[2:]]):
            got, parser = parse(sse(sent))
            self.assertIsNone(parser.error)
            self.assertEqual(stored(got), stored(whole))
            self.assertEqual(finished(got).finish_reason, "tool_calls")

    def test_a_response_that_was_not_streamed_says_the_same(self) -> None:
        expected = stored(parse(sse(events_of(EVERYTHING)))[0])
        parser = ResponseParser()
        events = parser.whole(frame(response(EVERYTHING) | {"type": "x"}).partition(b"data: ")[2])
        self.assertIsNone(parser.error)
        self.assertEqual(stored(events), expected)
        self.assertEqual(finished(events).usage, finished(parse(sse(events_of(EVERYTHING)))[0]).usage)

    def test_errors_inside_a_stream_keep_what_came_before(self) -> None:
        before = events_of(ANSWERS["ok"])[:6]
        for event, kind, status in (
            ({"type": "error", **ERROR}, x.UpstreamFailed, 502),
            ({"type": "error", "error": ERROR}, x.UpstreamFailed, 502),
            ({"type": "response.failed", "response": response([], "failed", error=ERROR)}, x.UpstreamFailed, 502),
            ({"type": "error", "code": "rate_limit_exceeded", "message": "Slow"}, x.UpstreamRateLimited, 429),
            ({"type": "error", "code": "invalid_prompt", "message": "No", "param": "input"}, x.UpstreamRejected, 400),
            ({"type": "response.failed", "response": {}}, x.UpstreamFailed, 502),
            ({"type": "response.cancelled", "response": {}}, x.UpstreamFailed, 502),
            ({"type": "error"}, x.UpstreamFailed, 502),
            ({"type": "response.completed", "response": {"status": "in_progress"}}, x.UpstreamTruncated, 502),
        ):
            events, parser = parse(sse([*before, event]))
            assert parser.error is not None
            self.assertEqual((type(parser.error), parser.error.status), (kind, status), event)
            self.assertEqual((told(events), parser.error.unbilled), ("Hello ", False))
            self.assertNotIn("sk-test", parser.error.message)

    def test_what_follows_the_end_is_ignored(self) -> None:
        data = sse(events_of(ANSWERS["ok"]))
        for more in (b"data: [DONE]\n\n", data, b"data: {\n\n"):
            events, parser = parse(data + more)
            self.assertEqual((told(events), parser.error), (told(parse(data)[0]), None))
            finished(events)

    def test_nothing_that_a_server_leaves_out_is_an_unforeseen_error(self) -> None:
        strange: list[Any] = [None, True, 5, "x", [], {}, [1], [{}], {"type": []}, {"id": {}, "delta": [1]}]
        for event in events_of(EVERYTHING)[:40] + events_of([call(1)]):
            changed = [{**event, name: value} for name in event if name != "type" for value in strange]
            for part in ("item", "response", "part", "annotation"):
                inside = event.get(part, {})
                changed += [{**event, part: {**inside, name: value}} for name in inside for value in strange]
            for each in [{"type": event["type"]}, *changed]:
                _, parser = parse(sse([each, *events_of(ANSWERS["ok"])]))
                self.assertTrue(parser.done or isinstance(parser.error, x.ProviderError), each)

    def test_more_text_than_is_stored(self) -> None:
        events, parser = parse(sse(events_of([message("x" * 40)])), max_text=32)
        self.assertIsInstance(parser.error, x.OutputLimit)
        self.assertEqual(told(events), "x" * 32)


RICH = sse(events_of(EVERYTHING))
FAILING = sse([*events_of(EVERYTHING)[:30], {"type": "error", **ERROR}])


class SplitTests(TestCase):
    def same(self, data: bytes, cuts: list[int]) -> None:
        (expected, whole), (events, parser) = parse(data), parse(data, cuts)
        self.assertEqual(stored(events), stored(expected))
        self.assertEqual(wire_text(events), wire_text(expected))
        self.assertEqual(type(parser.error), type(whole.error))
        self.assertEqual(events[-1] if parser.done else None, expected[-1] if whole.done else None)
        self.assertEqual(
            [each for each in events if isinstance(each, StreamStarted)],
            [each for each in expected if isinstance(each, StreamStarted)],
        )

    def test_every_byte_alone(self) -> None:
        for data in (RICH, RICH.replace(b"\n", b"\r\n"), FAILING):
            self.same(data, list(range(len(data))))

    @settings(max_examples=100, deadline=None)
    @given(st.data())
    def test_random_slices(self, draw: st.DataObject) -> None:
        ascii_only = sse(events_of(EVERYTHING), ascii_only=True)
        data = draw.draw(st.sampled_from([RICH, ascii_only, FAILING, RICH[:-20], RICH[: len(RICH) // 2]]))
        self.same(data, draw.draw(st.lists(st.integers(0, len(data)), max_size=40)))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.text(max_size=12), max_size=20), st.booleans(), st.booleans(), st.randoms())
    def test_any_text_comes_back_whole(self, texts: list[str], ascii_only: bool, numbered: bool, random: Any) -> None:
        deltas = [
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text}
            for text in texts
        ]
        events = [*events_of([])[:1], *deltas, {"type": "response.completed", "response": response([message("no")])}]
        if numbered:
            events = [{**event, "sequence_number": number} for number, event in enumerate(events)]
        data = sse(events, ascii_only=ascii_only)
        got, parser = parse(data, [random.randrange(len(data)) for _ in range(10)])
        self.assertIsNone(parser.error)
        self.assertEqual(told(got), "".join(texts).replace("\x00", "") or "" if any(texts) else "no")

    def test_characters_cut_into_two_deltas_are_joined(self) -> None:
        for name, number in (("output_text", "content_index"), ("reasoning_summary_text", "summary_index")):
            halves = b"".join(
                b'data: {"type":"response.%b.delta","output_index":0,"%b":0,"delta":"%b"}\n\n'
                % (name.encode(), number.encode(), half)
                for half in (b"a\\ud83d", b"\\ude42b")
            )
            data = sse(events_of([])[:1]) + halves + sse(events_of([message("x")])[-1:])
            got = stored(parse(data)[0])
            self.assertEqual(got.get("reasoning") or got["content"], "a🙂b")
            self.assertTrue(name == "output_text" or got["reasoning_details"][0]["summary"] == "a🙂b")

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200), st.booleans())
    def test_no_bytes_break_anything_but_the_answer(self, junk: bytes, prefixed: bool) -> None:
        events = events_of(ANSWERS["ok"])
        data = sse(events[:5]) + (b"data: " + junk if prefixed else junk) + b"\n\n" + sse(events[5:])
        _, parser = parse(data)
        self.assertTrue(parser.done or isinstance(parser.error, x.ProviderError))


class UsageTests(TestCase):
    def test_usage_of_any_shape(self) -> None:
        for usage, total in (
            ({"input_tokens": 1, "output_tokens": 2}, 3),
            ({"input_tokens": "1", "output_tokens": 2}, None),
            ({**RESPONSE_USAGE, "total_tokens": 9, "cost": 0.1}, 9),
        ):
            end = finished(parse(sse(events_of(ANSWERS["ok"], usage=usage)))[0])
            assert end.usage is not None
            self.assertEqual(end.usage.get("total_tokens"), total)
        self.assertIsNone(finished(parse(sse(events_of(ANSWERS["ok"], usage=None)))[0]).usage)
