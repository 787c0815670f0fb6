"""The parser's result does not depend on how the bytes are split; it keeps structured content and loses nothing."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any
from unittest import TestCase

from hypothesis import given, settings
from hypothesis import strategies as st

from completions import exceptions as x
from completions.providers.wire_parser import AnswerParser
from completions.tests.upstream_wire import ENVELOPE, USAGE, chunk
from completions.types import Delta, ProviderEvent, StreamFinished, StreamStarted
from conversations.finish_reasons import MISSING

PLAIN = {"index": 0, "delta": {"content": ""}, "logprobs": None, "finish_reason": None}
TOOL = {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}


def sse(*chunks: Any, done: bool = True, ascii_only: bool = False) -> bytes:
    lines = [item if isinstance(item, bytes) else _line(item, ascii_only) for item in chunks]
    return b"".join(lines) + (b"data: [DONE]\n\n" if done else b"")


def _line(item: Any, ascii_only: bool) -> bytes:
    return b"data: " + json.dumps(item, ensure_ascii=ascii_only).encode() + b"\n\n"


def parse(
    data: bytes, cuts: tuple[int, ...] | list[int] = (), **options: Any
) -> tuple[list[ProviderEvent], AnswerParser]:
    parser = AnswerParser(**options)
    edges = [0, *sorted(cuts), len(data)]
    events = [event for start, end in pairwise(edges) for event in parser.feed(data[start:end])]
    return events + parser.end(), parser


def told(events: list[ProviderEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def closed(events: list[ProviderEvent]) -> StreamFinished | None:
    assert sum(isinstance(event, StreamFinished) for event in events) <= 1
    return events[-1] if events and isinstance(events[-1], StreamFinished) else None


def wire_text(events: list[ProviderEvent]) -> str:
    """The text that a dialect would send: a delta's wire chunks if it has any, otherwise its text."""
    pieces = []
    for event in events:
        if isinstance(event, Delta):
            pieces.append(_text(event.wire) if event.wire else event.text)
    return "".join(pieces)


def _text(wire: tuple[Any, ...]) -> str:
    choices = [choice for item in wire for choice in item["choices"] if not choice.get("index")]
    return "".join((choice.get("delta") or {}).get("content") or "" for choice in choices)


def rest_of_wire(events: list[ProviderEvent]) -> list[Any]:
    """The structured wire chunks (more than text), in order: they must not depend on where the reads end."""
    items = [item for event in events if isinstance(event, Delta) for item in event.wire]
    return [
        item
        for item in items
        if any(
            {**choice, "delta": {"content": ""}} != PLAIN or set(choice["delta"]) != {"content"}
            for choice in item["choices"]
        )
    ]


RICH = sse(
    b"\xef\xbb\xbf: OPENROUTER PROCESSING\r\n\r\n",
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hé"}),
    chunk({"content": "llo 🙂"}),
    b"event: message\r\nid: 7\rretry: 5\n",
    chunk({"content": 'say "hi"\n'}),
    chunk(TOOL),
    b'data: {"id": "chatcmpl-1", "choices": [{"index": 0,\ndata: "delta": {"content": "two lines"}}]}\n\n',
    chunk({"content": "x", "reasoning": "hm"}),
    chunk({"content": "b"}, index=1),
    chunk({"content": "end"}, "stop"),
    chunk({}, "length", index=1),
    {**ENVELOPE, "choices": [], "usage": USAGE},
)
BROKEN = sse(
    chunk({"content": "ab"}), chunk({"content": "ü"}), b'data: {"choices": [\n\n', chunk({"content": "c"}, "stop")
)
FAILING = sse(chunk({"content": "ab"}), {"error": {"code": 502, "message": "sk-secret"}}, chunk({}, "stop"))


class SplitTests(TestCase):
    def same(self, data: bytes, cuts: list[int]) -> None:
        expected, whole = parse(data)
        events, parser = parse(data, cuts)
        self.assertEqual(told(events), told(expected))
        self.assertEqual(wire_text(events), wire_text(expected))
        self.assertEqual(rest_of_wire(events), rest_of_wire(expected))
        self.assertEqual(closed(events), closed(expected))
        self.assertEqual(
            [e for e in events if isinstance(e, StreamStarted)], [e for e in expected if isinstance(e, StreamStarted)]
        )
        self.assertEqual(type(parser.error), type(whole.error))

    def test_every_split_in_two_and_every_byte_alone(self) -> None:
        for data in (RICH, RICH.replace(b"\n", b"\r\n"), RICH.replace(b"\r\n", b"\n").replace(b"\n", b"\r"), BROKEN):
            for cut in range(len(data)):
                self.same(data, [cut])
            self.same(data, list(range(len(data))))

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_random_splits(self, draw: st.DataObject) -> None:
        data = draw.draw(st.sampled_from([RICH, BROKEN, FAILING, RICH[:-20], RICH[: len(RICH) // 2]]))
        self.same(data, draw.draw(st.lists(st.integers(0, len(data)), max_size=40)))

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.tuples(st.text(max_size=12), st.sampled_from(["plain", "tool", "other", "obfuscated"])), max_size=30
        ),
        st.booleans(),
        st.randoms(use_true_random=False),
    )
    def test_any_text_comes_back_whole(self, parts: list[tuple[str, str]], ascii_only: bool, random: Any) -> None:
        make = {
            "plain": lambda text: chunk({"content": text}),
            "tool": lambda text: chunk({"content": text, **TOOL}),
            "other": lambda text: chunk({"content": text}, created=9, service_tier="x"),
            "obfuscated": lambda text: chunk({"content": text}, obfuscation="x" * len(text)),
        }
        data = sse(*(make[kind](text) for text, kind in parts), chunk({}, "stop"), ascii_only=ascii_only)
        expected = "".join(text for text, _ in parts).replace("\x00", "")
        events, parser = parse(data, [random.randrange(len(data)) for _ in range(10)])
        self.assertIsNone(parser.error)
        self.assertEqual((told(events), wire_text(events)), (expected, expected))

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=300), st.booleans())
    def test_no_bytes_break_anything_but_the_answer(self, junk: bytes, prefixed: bool) -> None:
        _, parser = parse(sse(chunk({"content": "a"}), b"data: " + junk if prefixed else junk, chunk({}, "stop")))
        self.assertTrue(parser.done or isinstance(parser.error, x.ProviderError))


def parsed(*chunks: Any, done: bool = True) -> list[ProviderEvent]:
    events, parser = parse(sse(*chunks, done=done))
    if parser.error:
        raise parser.error
    return events


class MeaningTests(TestCase):
    def test_plain_text_is_one_delta_a_read_without_wire(self) -> None:
        role = chunk({"role": "assistant", "content": ""})
        null: dict[str, Any] = {"reasoning": None, "tool_calls": [], "refusal": None}
        usage = {**ENVELOPE, "choices": [], "usage": USAGE}
        finish = chunk({}, "stop")
        events = parsed(role, *(chunk({"content": c, **null}, obfuscation="zz") for c in "abc"), finish, usage)
        self.assertEqual(
            events, [StreamStarted(ENVELOPE), Delta("abc"), StreamFinished("stop", USAGE, (finish, usage))]
        )

    def test_a_role_alone_is_no_delta(self) -> None:
        parser = AnswerParser()
        self.assertEqual(
            parser.feed(sse(chunk({"role": "assistant", "content": ""}), done=False)), [StreamStarted(ENVELOPE)]
        )

    def test_wire_keeps_every_chunk_of_its_delta_in_order(self) -> None:
        tool = chunk(TOOL)
        events = parsed(
            chunk({"content": "a"}), chunk({"content": "b"}), tool, chunk({"content": "c"}), chunk({}, "stop")
        )
        plain = [{**ENVELOPE, "choices": [{**PLAIN, "delta": {"content": text}}]} for text in ("ab", "c")]
        self.assertEqual(events[1], Delta("abc", (plain[0], tool, plain[1])))

    def test_what_informs_is_kept_verbatim(self) -> None:
        cases: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
            ({"reasoning": "hm"}, {}),
            ({"reasoning_content": "hm"}, {}),
            ({"refusal": "no"}, {}),
            ({"audio": {"id": "1"}}, {}),
            ({"annotations": [{"type": "url_citation"}]}, {}),
            ({"function_call": {"name": "f"}}, {}),
            ({"content": "t", "zero": 0}, {}),
            ({"content": "t"}, {"logprobs": {"content": []}}),
            ({"content": "t"}, {"service_tier": "flex"}),
        )
        for delta, extra in cases:
            item = chunk(delta, **extra)
            events = parsed(chunk({"role": "assistant"}), item, chunk({}, "stop"))
            self.assertEqual(events[1], Delta(delta.get("content", ""), (item,)), delta)

    def test_a_dated_chunk_is_still_plain(self) -> None:
        events = parsed(chunk({"content": "a"}), chunk({"content": "b"}, created=5, id="z"), chunk({}, "stop"))
        self.assertEqual(events[1], Delta("ab"))

    def test_other_choices_are_wire_and_must_finish_unless_done_says_so(self) -> None:
        other = chunk({"content": "B"}, index=1)
        finishes = chunk({}, "stop"), chunk({}, "length", index=1)
        events = parsed(chunk({"content": "a"}), other, *finishes)
        self.assertEqual((told(events), events[-1]), ("a", StreamFinished("stop", None, finishes)))
        with self.assertRaises(x.UpstreamTruncated):
            parsed(chunk({"content": "a"}), other, chunk({}, "stop"), done=False)
        silent = chunk({}, MISSING, index=1)
        events = parsed(chunk({"content": "a"}), other, chunk({}, "stop"))
        self.assertEqual(events[-1], StreamFinished("stop", None, (finishes[0], silent)))

    def test_text_on_the_finishing_chunk_is_told_once(self) -> None:
        finish = {**chunk({"content": "!", "role": "assistant"}, "stop"), "usage": USAGE}
        events = parsed(chunk({"content": "a"}), finish)
        held = {**chunk({"content": "", "role": "assistant"}, "stop"), "usage": USAGE}
        self.assertEqual(events[1:], [Delta("a!"), StreamFinished("stop", USAGE, (held,))])

    def test_the_end_needs_a_finish_reason_or_done_after_text(self) -> None:
        self.assertEqual(
            closed(parsed(chunk({"content": "a"}, "stop"), done=False)), parsed(chunk({"content": "a"}, "stop"))[-1]
        )
        silent = chunk({"content": "a"})
        for data in (
            b"",
            b"data: [DONE]\n\n",
            sse(chunk({"role": "assistant", "content": ""})),
            sse(silent, done=False),
            sse(silent, b"data: [done]\n\n", done=False),
        ):
            self.assertIsInstance(parse(data)[1].error, x.UpstreamTruncated, data)
        usage = {**ENVELOPE, "choices": [], "usage": USAGE}
        for said in (silent, chunk({"content": "a"}, ""), {**ENVELOPE, "choices": [{"delta": {"content": "a"}}]}):
            end = StreamFinished(MISSING, USAGE, (chunk({}, MISSING), usage))
            self.assertEqual(closed(parsed(said, usage)), end)
        self.assertEqual(closed(parsed(chunk(TOOL))), StreamFinished(MISSING, None, (chunk({}, MISSING),)))

    def test_nothing_is_read_after_done(self) -> None:
        events, parser = parse(
            sse(chunk({"content": "a"}, "stop")) + sse(chunk({"content": "ghost"}), b"data: null\n\n")
        )
        self.assertEqual((told(events), parser.error), ("a", None))

    def test_empty_chunks_are_tolerated(self) -> None:
        empty = [{}, {"choices": []}, {"choices": None}, {"choices": [{"delta": None}]}, {"choices": [{}]}]
        events = parsed(chunk({"content": "a"}), *empty, chunk({"content": "b"}), chunk({}, "stop"))
        self.assertEqual(events[1:], [Delta("ab"), StreamFinished("stop", None, (chunk({}, "stop"),))])

    def test_a_prologue_does_not_open_the_answer(self) -> None:
        prologue = {"id": "", "model": "", "choices": [], "prompt_filter_results": [1]}
        events = parsed(prologue, chunk({"content": "a"}, "stop"))
        self.assertEqual((events[0], events[-1].wire[0]), (StreamStarted(ENVELOPE), prologue))  # type: ignore[union-attr]

    def test_nonsense_is_invalid_and_keeps_what_came_before(self) -> None:
        for bad in (
            b"{",
            b'{"choices":5}',
            b'{"choices":[1]}',
            b'{"choices":[{"delta":7}]}',
            b'{"choices":[{"delta":{"content":5}}]}',
            b'{"choices":[{"delta":{"content":{}},"index":1}]}',
            b'{"choices":[{"index":-1}]}',
            b'{"choices":[{"index":"one"}]}',
            b'{"a":1e999}',
        ):
            events, parser = parse(sse(chunk({"content": "a"}), b"data: " + bad + b"\n\n", chunk({}, "stop")))
            self.assertIsInstance(parser.error, x.UpstreamInvalid, bad)
            self.assertEqual((told(events), closed(events)), ("a", None))

    def test_strings_are_safe_for_a_database_everywhere(self) -> None:
        nul, lone = b"\\u0000", b"\\ud83d"
        line = (
            b'data: {"choices":[{"delta":{"content":"a'
            + nul
            + b"b"
            + lone
            + b'c\xffd","k'
            + nul
            + b'":["'
            + lone
            + b'"]}}]}\n\n'
        )
        events, _ = parse(sse(chunk({"content": "_"}), line, chunk({}, "stop")))
        self.assertEqual(told(events), "_ab\ufffdc\ufffdd")
        self.assertEqual(events[1].wire[1]["choices"][0]["delta"]["k"], ["\ufffd"])  # type: ignore[union-attr]
        plain = [chunk({"content": "x\x00y"}) for _ in range(4)]
        self.assertEqual(told(parsed(*plain, chunk({}, "stop"))), "xy" * 4)

    def test_text_that_looks_like_the_wire(self) -> None:
        for text in ("content", "assistant", ",", ":", "}", '"', "faulty", "stop", "\\", "data: [DONE]", ""):
            pieces = [text, "plain", text, "plain", text]
            events = parsed(*(chunk({"role": "assistant", "content": c}) for c in pieces), chunk({}, "stop"))
            self.assertEqual(events[1], Delta("".join(pieces)), text)

    def test_a_look_alike_never_becomes_the_template(self) -> None:
        meta = {"meta": {"content": "Hi"}}
        raw = json.dumps({**ENVELOPE, **meta, "choices": [{"index": 0, "delta": {"content": "Hi"}}]})
        raw = raw.replace('"delta": {"content": "Hi"}', '"delta": {"content": "H\\u0069"}')
        events, _ = parse(
            sse(
                b"data: " + raw.encode() + b"\n\n",
                b"data: " + raw.replace('{"content": "Hi"}', '{"content": "Ho"}').encode() + b"\n\n",
                chunk({}, "stop"),
            )
        )
        self.assertEqual(told(events), "HiHi")

    def test_a_body_instead_of_a_stream(self) -> None:
        message: dict[str, Any] = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []}
        body: dict[str, Any] = {
            **ENVELOPE,
            "object": "chat.completion",
            "usage": USAGE,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        }
        events = AnswerParser().whole(json.dumps(body).encode())
        self.assertEqual(events[:2], [StreamStarted(ENVELOPE), Delta("Hi")])
        self.assertEqual((events[2].finish_reason, events[2].usage), ("stop", USAGE))  # type: ignore[union-attr]
        body["choices"][0]["finish_reason"] = None
        events = AnswerParser().whole(json.dumps(body).encode())
        self.assertEqual((told(events), events[2].finish_reason), ("Hi", MISSING))  # type: ignore[union-attr]
        for bad, kind in (
            (b"{}", x.UpstreamInvalid),
            (b"<", x.UpstreamInvalid),
            (b'{"error":{}, "choices":[]}', x.UpstreamInvalid),
            (b'{"error":"x"}', x.UpstreamFailed),
            (b'{"choices":[]}', x.UpstreamInvalid),
            (b'{"choices":[{"message":null}]}', x.UpstreamInvalid),
            (b'{"choices":[{"message":{"role":"assistant","content":""}}]}', x.UpstreamTruncated),
        ):
            parser = AnswerParser()
            parser.whole(bad)
            self.assertIsInstance(parser.error, kind, bad)


class CapTests(TestCase):
    def test_text_up_to_the_limit_and_not_one_character_more(self) -> None:
        for size, kind in ((10, type(None)), (11, x.OutputLimit)):
            data = sse(*(chunk({"content": c}) for c in "ü" * size), chunk({}, "stop"))
            for cuts in ([], list(range(len(data)))):
                events, parser = parse(data, cuts, max_text=10)
                self.assertIsInstance(parser.error, kind)
                self.assertEqual((told(events), closed(events) is None), ("ü" * 10, size > 10))

    def test_the_limit_comes_before_what_is_wrong_after_it(self) -> None:
        data = sse(*(chunk({"content": c}) for c in "x" * 11), b"data: null\n\n")
        for cuts in ([], [len(data) // 2], list(range(len(data)))):
            self.assertIsInstance(parse(data, cuts, max_text=10)[1].error, x.OutputLimit)

    def test_lines_and_totals_are_capped(self) -> None:
        good = sse(chunk({"content": "a"}))
        for data in (good[:-14] + b":" + b"x" * 300, good[:-14] + b":" + b"x" * 300 + b"\n\n"):
            events, parser = parse(data, max_line=200)
            self.assertIsInstance(parser.error, x.OutputLimit)
            self.assertEqual(told(events), "a")
        data = sse(*(chunk({"content": "a"}) for _ in range(100)), chunk({}, "stop"))
        self.assertIsNone(parse(data, max_raw=len(data))[1].error)
        for cuts in ([], list(range(len(data)))):
            _, parser = parse(data, cuts, max_raw=len(data) - 40)
            self.assertIsInstance(parser.error, x.OutputLimit)
