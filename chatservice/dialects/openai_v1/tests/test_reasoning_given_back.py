"""A server of chat completions gets the reasoning before its calls back, in its own field; no other server gets it."""

from __future__ import annotations

from typing import Any

from chatservice.dialects.openai_v1.tests.responses_case import ResponsesTestCase, answered
from chatservice.testing import needs_dialect
from completions.models import Run

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
DETAIL = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
THOUGHT: dict[str, Any] = {
    "reasoning_content": "Let me look.",
    "reasoning": "Let me look.",
    "reasoning_details": [{**DETAIL, "text": "Let me look.", "signature": "c2ln"}],
}
RESULT = answered(("call_1", "sunny"))


class GivenBackTest(ResponsesTestCase):
    def called(self, field: str, **fields: Any) -> Any:
        return self.ask("Weather?", model=f"fake/thinking-calls:{field}", tools=[FUNCTION], **fields)

    def assistants(self) -> list[dict[str, Any]]:
        """Return the assistant messages that the upstream got last, without their calls and content."""
        sent = [wire for wire in self.sent["messages"] if wire["role"] == "assistant"]
        rest = ("role", "content", "tool_calls")
        return [{name: value for name, value in wire.items() if name not in rest} for wire in sent]

    def test_with_the_result_and_in_later_turns(self) -> None:
        for field, thought in THOUGHT.items():
            with self.subTest(field):
                model = f"fake/thinking-calls:{field}"
                first = self.called(field)
                second = self.ask(RESULT, model=model, previous_response_id=first["id"])
                self.assertEqual(self.assistants(), [{field: thought}])
                self.ask("And now?", model=model, previous_response_id=second["id"])
                self.assertEqual(self.assistants(), [{field: thought}, {}])

    def test_a_history_that_is_resent_need_not_name_its_items(self) -> None:
        question = {"role": "user", "content": "Weather?"}
        for field, thought in THOUGHT.items():
            with self.subTest(field):
                first = self.called(field)
                items = [{name: each[name] for name in each if name != "id"} for each in first["output"]]
                self.ask([question, *items, *RESULT], model=f"fake/thinking-calls:{field}")
                self.assertEqual(self.assistants(), [{field: thought}])
                # What differs from what is stored is nobody's reasoning.
                calls = [{**each, "arguments": '{"a": 1}'} for each in items if each["type"] == "function_call"]
                self.ask([question, *calls, *RESULT], model=f"fake/thinking-calls:{field}")
                self.assertEqual(self.assistants(), [{}])

    def test_no_other_upstream_gets_it(self) -> None:
        question = {"role": "user", "content": "Weather?"}
        for field in THOUGHT:
            with self.subTest(field):
                first = self.called(field)
                run = self.run_of(first)
                assert run.message is not None
                run.message.upstream = "another"
                run.message.save(update_fields=["upstream"])
                self.ask(RESULT, previous_response_id=first["id"])
                self.assertEqual(self.assistants(), [{}])
                self.ask([question, *first["output"], *RESULT])
                self.assertEqual(self.assistants(), [{}])

    def test_nor_is_it_sent_with_an_answer_that_calls_nothing(self) -> None:
        first = self.ask(model="fake/reasoning")
        self.ask("And now?", model="fake/reasoning", previous_response_id=first["id"])
        self.assertEqual(self.assistants(), [{}])

    def test_a_chat_gets_it_too(self) -> None:
        needs_dialect("chat_v1")
        first = self.called("reasoning_content")
        self.ask(RESULT, model="fake/thinking-calls", previous_response_id=first["id"])
        path = f"/v1/chat/conversations/{self.run_of(first).conversation_id}/messages"
        answer = self.alice.http.post(path, json={"content": "And now?", "model": "fake/ok"})
        self.assertEqual(answer.status_code, 201, answer.text)
        self.assertEqual(self.assistants(), [{"reasoning_content": THOUGHT["reasoning_content"]}, {}])

    def test_what_a_client_of_chat_completions_resends_goes_out_as_it_is(self) -> None:
        call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        answer = {"role": "assistant", "content": None, "tool_calls": [call], **THOUGHT, "given_back": ["?"]}
        result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
        messages = [{"role": "user", "content": "Weather?"}, answer, result]
        for stream in (True, False):
            body = {"model": "fake/ok", "messages": messages, "stream": stream}
            self.assertEqual(self.alice.http.post("/v1/chat/completions", json=body).status_code, 200)
            self.assertEqual(self.sent["messages"], messages)
        self.assertEqual(Run.objects.filter(user=self.alice.user, state="complete").count(), 2)
