"""Why an answer has no text, and the sentence for it."""

from __future__ import annotations

from typing import Any

from django.test import SimpleTestCase

from conversations.empty_answers import REASONS, describe, empty_reason
from conversations.models import Message


def reason(content: Any = None, finish_reason: str = "stop", **fields: Any) -> str | None:
    return empty_reason({"role": "assistant", "content": content, **fields}, finish_reason)


class EmptyReasonTest(SimpleTestCase):
    def test_what_says_something_is_not_empty(self) -> None:
        calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
        self.assertIsNone(reason("Hi", refusal="but no more", reasoning="hm"))
        self.assertIsNone(reason([{"type": "text", "text": ""}, {"type": "text", "text": "Hi"}]))
        self.assertIsNone(reason([{"type": "image_url", "image_url": {"url": "data:,"}}]))
        for said in ({"tool_calls": calls}, {"function_call": {"name": "f"}}, {"audio": {"id": "a"}}, {"images": [1]}):
            self.assertIsNone(reason("", **said), said)

    def test_nothing_and_white_space_are_empty(self) -> None:
        for content in (None, "", " \n\t", [], [{"type": "text", "text": " "}]):
            self.assertEqual(reason(content, tool_calls=[], refusal=None, reasoning=""), "empty", content)

    def test_reasoning_alone(self) -> None:
        for field in ({"reasoning": "hm"}, {"reasoning_content": "hm"}, {"reasoning_details": [{"text": "hm"}]}):
            self.assertEqual(reason("", **field), "reasoning_only")

    def test_a_refusal_in_each_of_its_forms(self) -> None:
        self.assertEqual(reason(refusal="I cannot.", reasoning="hm"), "refusal")
        self.assertEqual(reason([{"type": "refusal", "refusal": "I cannot."}]), "refusal")
        self.assertEqual(reason("", "content_filter"), "refusal")
        self.assertEqual(reason("", "refusal"), "refusal")

    def test_each_has_a_sentence(self) -> None:
        told = {describe(each, finish) for each in REASONS for finish in ("stop", "length", "content_filter", None)}
        self.assertEqual(len(told), 6)

    def test_only_complete_answers_of_our_own(self) -> None:
        answer = Message(role="assistant", status="complete")
        self.assertEqual(answer.empty_reason, "empty")
        for changes in ({"role": "user"}, {"status": "failed"}, {"status": "in_progress"}, {"source_id": "x"}):
            self.assertIsNone(Message(**({"role": "assistant", "status": "complete"} | changes)).empty_reason)
