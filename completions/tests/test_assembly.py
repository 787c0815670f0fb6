"""Reassembling a structured answer from its chunks, whatever the upstream puts into them."""

from __future__ import annotations

import copy
from typing import Any

from django.test import SimpleTestCase

from completions.assembly import Assembly, extras_of_message


def chunk(delta: Any, index: int = 0, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def assembled(*chunks: dict[str, Any]) -> Assembly:
    assembly = Assembly()
    for each in chunks:
        assembly.feed([each])
    return assembly


class AssemblyTest(SimpleTestCase):
    def test_plain_text_has_no_parts(self):
        self.assertIsNone(assembled(chunk({"role": "assistant", "content": "Hi"}), chunk({}, finish="stop")).extras())

    def test_a_tool_call_is_joined_and_loses_its_index(self):
        extras = assembled(
            chunk(
                {
                    "tool_calls": [
                        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
                    ]
                }
            ),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        ).extras()
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        self.assertEqual(extras, {"tool_calls": [call]})

    def test_tool_calls_side_by_side_stay_apart(self):
        first = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "1"}}
        second = {"index": 1, "id": "b", "function": {"name": "g", "arguments": "2"}}
        more = {"index": 0, "function": {"arguments": "3"}}
        extras = assembled(chunk({"tool_calls": [first, second]}), chunk({"tool_calls": [more]})).extras() or {}
        self.assertEqual([call["function"]["arguments"] for call in extras["tool_calls"]], ["13", "2"])

    def test_ids_and_names_said_in_every_chunk_are_said_once(self):
        again = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "x"}}
        extras = assembled(chunk({"tool_calls": [again]}), chunk({"tool_calls": [again]})).extras() or {}
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "xx"}}
        self.assertEqual(extras["tool_calls"], [call])

    def test_reasoning_refusal_and_unknown_fields_are_kept(self):
        extras = assembled(
            chunk({"reasoning": "Let ", "refusal": None, "mood": {"a": "x"}}),
            chunk({"reasoning": "me", "refusal": "No", "mood": {"b": 1}}),
        ).extras()
        self.assertEqual(extras, {"reasoning": "Let me", "refusal": "No", "mood": {"a": "x", "b": 1}})

    def test_items_without_an_index_are_appended(self):
        details = [{"type": "reasoning.text", "text": "a"}]
        extras = assembled(chunk({"reasoning_details": details}), chunk({"reasoning_details": details})).extras() or {}
        self.assertEqual(extras["reasoning_details"], details * 2)

    def test_further_choices_are_whole_messages_in_order(self):
        siblings = assembled(
            chunk({"content": "a"}),
            chunk({"content": "C"}, 2),
            chunk({"content": "B"}, 1),
            chunk({"content": "b"}, 1, "stop"),
        ).siblings()
        self.assertEqual([each["content"] for each in siblings], ["Bb", "C"])
        self.assertEqual(siblings[0]["finish_reason"], "stop")

    def test_the_chunks_themselves_are_left_alone(self):
        first = chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1"}}], "mood": ["a"]})
        second = chunk({"tool_calls": [{"index": 0, "function": {"arguments": "2"}}], "mood": ["b"]})
        before = copy.deepcopy([first, second])
        assembled(first, second)
        self.assertEqual([first, second], before)

    def test_nonsense_of_an_upstream_is_kept_and_never_fatal(self):
        odd: list[Any] = [1, "x", None, [1], {}, {"index": None}, {"index": [1]}, {"function": 5}, True]
        for name in ("tool_calls", "reasoning_details", "mood"):
            for first in [*odd, odd]:
                for second in [*odd, odd]:
                    assembly = assembled(chunk({name: first}), chunk({name: second}, 1), chunk({name: second}))
                    assembly.extras()
                    assembly.siblings()

    def test_chunks_without_choices_say_nothing(self):
        self.assertIsNone(assembled({}, {"choices": None}, {"choices": []}, chunk(None), chunk([])).extras())

    def test_a_whole_messages_parts_are_what_is_beyond_its_text(self):
        message = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": [], "tool_calls": [1], "x": 0}
        self.assertEqual(extras_of_message(message), {"tool_calls": [1]})
        self.assertIsNone(extras_of_message({"role": "assistant", "content": "Hi"}))
