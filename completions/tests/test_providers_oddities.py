"""What servers send beside, or instead of, what OpenAI documents: noise, halves of characters, errors, odd reasons."""

from __future__ import annotations

import json
from typing import Any
from unittest import TestCase

from hypothesis import given, settings
from hypothesis import strategies as st

from completions import exceptions as x
from completions.assembly import Assembly
from completions.providers.whole_answers import body_of, read_answer
from completions.providers.wire_parser import AnswerParser
from completions.tests.test_providers_parser import parse, parsed, sse, told, wire_text
from completions.tests.upstream_wire import chunk
from completions.types import Delta, ProviderEvent, StreamFinished
from conversations.finish_reasons import MISSING

CONTENT = '{"content":"TEXT"}'
LISTED = '{"content":[{"type":"text","text":"TEXT"}]}'
FIRST = '{"tool_calls":[{"id":"c1","function":{"name":"f","arguments":""}}]}'
ARGUMENTS = '{"tool_calls":[{"function":{"arguments":"TEXT"}}],"reasoning":"TEXT"}'

TEXT_COMPLETION = b'data: {"id":"c","choices":[{"index":0,"text":"a","finish_reason":null}]}\n\n'

WORDS = ("text", "thinking", "reference", "function", "name", "id", "", "0", "stop", "error", "{}", "c1")
NAMES = (
    *("type", "text", "thinking", "content", "index", "id", "function", "custom", "name", "arguments", "tool_calls"),
    *(
        "function_call",
        "role",
        "refusal",
        "reasoning",
        "message",
        "delta",
        "finish_reason",
        "error",
        "detail",
        "status",
    ),
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 500)
    | st.floats(allow_nan=False)
    | st.sampled_from(WORDS)
    | st.text("\ud83d\ude00\0a"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


def deltas(*values: str) -> list[bytes]:
    return [b'data: {"choices":[{"index":0,"delta":' + value.encode() + b"}]}\n\n" for value in values]


def extras_of(events: list[ProviderEvent]) -> dict[str, Any]:
    assembly = Assembly()
    for event in events:
        if isinstance(event, Delta | StreamFinished):
            assembly.feed(event.wire)
    return assembly.extras() or {}


class OddityTests(TestCase):
    def test_noise_is_counted_and_is_never_the_end(self) -> None:
        words = (b": keepalive", b"ping", b"[PING]", b"nonsense", b"-", b"}", b"[done]", b"[" * 5000)
        values = (b"null", b'""', b'"x"', b'"[DONE]"', b"[]", b"[1]", b"1", b"true", b'{"type": "ping"}')
        for bad in (*words, *values, b'{"id": 1, "status": "queued"}'):
            for before in (b"", b"event: heartbeat\n", b": ping\r\nid: 4\n", b"data: ping\n"):
                line = before + b"data: " + bad + b"\n\n"
                data = sse(line, chunk({"content": "a"}), line, chunk({"content": "b"}), chunk({}, "stop"), line)
                events, parser = parse(data)
                self.assertIsNone(parser.error, bad)
                self.assertEqual((told(events), parser.noise), ("ab", 3 * (1 + before.count(b"data"))), bad)

    def test_an_empty_value_of_another_type_is_nothing(self) -> None:
        empty = [f'data: {{"id":"c","choices":[{{"index":0,"delta":{value}}}]}}\n\n'.encode() for value in ("[]", '""')]
        empty += [f'data: {{"id":"c","choices":{value}}}\n\n'.encode() for value in ("{}", '""', "false")]
        empty += deltas('{"content":[]}')
        for nothing in empty:
            events, parser = parse(sse(nothing, chunk({"content": "a"}), nothing, chunk({}, "stop"), nothing))
            self.assertIsNone(parser.error, nothing)
            self.assertEqual(told(events), "a", nothing)

    def test_an_answer_in_an_event_of_an_event_or_as_a_text_completion_is_an_answer(self) -> None:
        for one in (b"data: data: " + json.dumps(chunk({"content": "a"})).encode() + b"\n\n", TEXT_COMPLETION):
            events, parser = parse(sse(one, chunk({}, "stop"), b"data: data: [DONE]\n\n"))
            self.assertIsNone(parser.error, one)
            self.assertEqual((told(events), wire_text(events)), ("a", "a"), one)
        body = read_answer(b'{"choices":[{"index":0,"text":"a","finish_reason":"stop"}]}')
        self.assertEqual(body["choices"][0]["message"], {"role": "assistant", "content": "a"})
        self.assertNotIn("text", body["choices"][0])

    def test_calls_under_one_id_and_one_index_are_told_apart_by_their_names(self) -> None:
        calls = [
            {"index": 0, "id": "c", "function": {"name": name, "arguments": f'{{"{name}":1}}'}} for name in ("f", "g")
        ]
        for pieces in ([calls], [calls[:1], calls[1:]]):
            events, _ = parse(sse(*(chunk({"tool_calls": piece}) for piece in pieces), chunk({}, "tool_calls")))
            said = [call["function"] for call in extras_of(events)["tool_calls"]]
            wanted = [{"name": "f", "arguments": '{"f":1}'}, {"name": "g", "arguments": '{"g":1}'}]
            self.assertEqual(said, wanted)

    def test_noise_without_a_blank_line_takes_nothing_with_it(self) -> None:
        one, two = (json.dumps(chunk({"content": text})).encode() for text in "ab")
        several = b"data: " + one.replace(b', "choices"', b',\n: noise\ndata: "choices"')
        for data in (
            b"data: ping\ndata: " + one + b"\ndata: " + two + b"\ndata: [DONE]\n",
            b"data:" + one + b"\ndata:[PING]\n\ndata:" + two + b"\ndata: [DONE]  \n",
            several + b"\n\nevent: ping\ndata: " + two + b"\n\ndata:  [DONE]\n\n",
        ):
            for changed in (data, data.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + data):
                events, parser = parse(changed)
                self.assertIsNone(parser.error)
                self.assertEqual(told(events), "ab")

    def test_what_breaks_after_the_answer_breaks_nothing(self) -> None:
        broken: tuple[Any, ...] = (b'data: {"id": "x", "usa\n\n', {"choices": 5}, {"choices": [7]})
        errors = ({"error": "x"}, b"event: error\ndata: x\n\n", b'event: error\ndata: {"message": "x"}\n\n')
        for late in (*broken, *errors, chunk({}, "error")):
            for end in (True, False):
                events, parser = parse(sse(chunk({"content": "a"}), chunk({}, "stop"), late, done=end))
                self.assertEqual((told(events), parser.error, parser.done), ("a", None, True))
                expected = "upstream_invalid" if late in broken else "upstream_error"
                self.assertEqual((parser.late_code, parser.noise), (expected, 1), late)

    def test_a_strange_finish_reason_is_none(self) -> None:
        for reason in (7, True, {"type": "stop"}, ["stop"], "", "null", "None", None):
            events = parsed(chunk({"content": "a"}), chunk({"refusal": "b"}, reason))
            self.assertEqual(events[-1].finish_reason, MISSING)  # type: ignore[union-attr]
            self.assertIsNone(events[1].wire[1]["choices"][0]["finish_reason"])  # type: ignore[union-attr]
            self.assertIsInstance(parse(sse(chunk({"content": "a"}, reason), done=False))[1].error, x.UpstreamTruncated)

    def test_halves_of_a_character_are_joined_in_any_field_however_they_are_sent(self) -> None:
        for texts, expected in (
            (["Hi \\ud83d", "\\ude00 you"], "Hi 😀 you"),
            (["a", "b", "\\ud83d", "", "\\ude00", "c", "d"], "ab😀cd"),
            (["\\uD83D\\uDE00\\ud83d", "\\ude00"], "😀😀"),
            (["a\\ud83d", "b"], "a\ufffdb"),
            (["a\\ude00", "b"], "a\ufffdb"),
            (["a", "b\\ud83d"], "ab\ufffd"),
            (["\\ud83d", "\\ud83d", "\\ude00"], "\ufffd😀"),
        ):
            data = sse(*deltas(*(CONTENT.replace("TEXT", text) for text in texts)), chunk({}, "stop"))
            for cuts in ([], list(range(len(data)))):
                events, parser = parse(data, cuts)
                self.assertEqual((told(events), wire_text(events), parser.error), (expected, expected, None))
            listed = deltas(*(LISTED.replace("TEXT", text) for text in texts))
            self.assertEqual(told(parsed(*listed, chunk({}, "stop"))), expected)
            calls = deltas(
                FIRST,
                *(ARGUMENTS.replace("TEXT", text) for text in texts),
            )
            extras = extras_of(parsed(*calls, chunk({}, "tool_calls")))
            self.assertEqual(extras["tool_calls"][0]["function"]["arguments"], expected)
            self.assertEqual(extras["reasoning"], expected)

    def test_bytes_of_a_character_are_joined_in_any_field(self) -> None:
        for texts, expected in (
            ([b"Hi \xf0\x9f", b"\x98\x80 you"], "Hi 😀 you"),
            ([b"a", b"b\xf0", b"\x9f", b"", b"\x98", b"\x80", b"c"], "ab😀c"),
            ([b"gr\xc3", b"\xbc\xc3", b"\x9fe"], "grüße"),
            ([b"a\xf0\x9f", b"b"], "a\ufffdb"),
            ([b"a\x98\x80", b"b\xff"], "a\ufffd\ufffdb\ufffd"),
            ([b"\xf0\x9f", b"\xf0\x9f\x98\x80"], "\ufffd😀"),
            ([b"ab", b"c\xe2\x82"], "abc\ufffd"),
            ([b"\\ud83d", b"\\udc80"], "💀"),
        ):
            split = [part.replace(b"TEXT", text) for text in texts for part in deltas(CONTENT)]
            data = sse(*deltas(CONTENT.replace("TEXT", "")), *split, chunk({}, "stop"))
            for cuts in ([], list(range(len(data)))):
                events, parser = parse(data, cuts)
                self.assertEqual((told(events), wire_text(events), parser.error), (expected, expected, None))
            split = [part.replace(b"TEXT", text) for text in texts for part in deltas(ARGUMENTS)]
            extras = extras_of(parsed(*deltas(FIRST), *split, chunk({}, "tool_calls")))
            self.assertEqual(extras["tool_calls"][0]["function"]["arguments"], expected)

    def test_halves_of_a_failed_answer_and_of_other_choices(self) -> None:
        lone = b'{"index":0,"delta":{"content":"a\\ud83d"}},{"index":1,"delta":{"content":"\\ud83d"}}'
        lone = b'data: {"choices":[' + lone + b"]}\n\n"
        events, parser = parse(sse(lone, {"error": "x"}))
        self.assertEqual((told(events), type(parser.error)), ("a\ufffd", x.UpstreamFailed))
        other = b'data: {"choices":[{"index":1,"delta":{"content":"\\ude00"}}]}\n\n'
        events = parsed(lone, other)
        self.assertEqual(body_of(events)["choices"][1]["message"]["content"], "😀")

    def test_errors_inside_the_stream_say_their_code_and_reason_and_no_key(self) -> None:
        key = "sk-0123456789"
        for bad, code, message in (
            ({"error": {"code": "overloaded", "message": f"{key} said hi"}}, "overloaded", "[redacted] said hi"),
            ({"error": key}, None, "[redacted]"),
            (
                {**chunk({"content": ""}, "error"), "error": {"code": 502, "message": "Broke"}},
                None,
                "(code 502): Broke",
            ),
            (chunk({}, "error"), None, "reported an error"),
            ({"choices": [{"error": {"message": "our key ours"}}]}, None, "our key [redacted]"),
            (b'event: error\ndata: {"message": "full"}\n\n', None, "full"),
            (b"event: error\ndata: out of memory\n\n", None, "out of memory"),
            (b'event: error\ndata: "no memory"\n\n', None, "no memory"),
            (b'{"error": {"message": "bare"}}\n', None, "bare"),
            ({"detail": "no model"}, None, "no model"),
            ({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, None, "busy"),
            ([{"error": {"message": "listed", "code": 500}}], None, "listed"),
        ):
            events, parser = parse(sse(chunk({"content": "a"}), bad, chunk({}, "stop")), secrets=("ours",))
            assert isinstance(parser.error, x.UpstreamFailed), bad
            self.assertEqual((told(events), parser.error.upstream_code, parser.error.unbilled), ("a", code, False))
            self.assertIn(message, parser.error.message)
            self.assertNotIn(key, parser.error.message)
        self.assertIn("code 502", parse(sse({"error": {"code": 502}}))[1].error.message)  # type: ignore[union-attr]

    def test_no_error_is_none_beside_choices(self) -> None:
        nothings: tuple[Any, ...] = (None, "", {}, [], False, {"code": None})
        for nothing in (*({"error": none} for none in nothings), {"detail": "x"}):
            self.assertEqual(told(parsed(chunk({"content": "a"}, **nothing), chunk({}, "stop"))), "a")

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=4), max_size=4), st.booleans())
    def test_no_values_break_anything_but_the_answer(self, values: list[Any], in_delta: bool) -> None:
        choices = [{"index": 0, "delta": value} if in_delta else value for value in values]
        events, parser = parse(
            sse(*({"choices": [choice]} for choice in choices), *values, chunk({}, "stop"), ascii_only=True)
        )
        assert parser.done or isinstance(parser.error, x.ProviderError)
        assert wire_text(events) == told(events)
        json.dumps(extras_of(events)).encode()
        for body in ({"choices": [{"message": value} for value in values]}, {"choices": values}, values):
            whole = AnswerParser()
            whole.whole(json.dumps(body).encode())
            assert whole.done or isinstance(whole.error, x.ProviderError)

    def test_deep_nesting_is_invalid(self) -> None:
        for depth in (300, 600, 900, 5000):
            for deep in ('{"type":"thinking","thinking":[' * depth + "]}" * depth, "[" * depth + "]" * depth):
                for lone in ("", "\\ud83d"):
                    delta = f'{{"content":[{deep}],"x":"{lone}"}}'
                    data = sse(*deltas(delta), chunk({}, "stop"))
                    _, parser = parse(data)
                    assert parser.done or isinstance(parser.error, x.ProviderError)
                    whole = AnswerParser()
                    whole.whole(b'{"choices":[{"message":' + delta.encode() + b"}]}")
                    assert whole.done or isinstance(whole.error, x.ProviderError)
