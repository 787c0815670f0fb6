"""Requests in the vocabulary of chat completions become requests of the Responses API."""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from completions.chat_tools import with_chat_calls
from completions.providers.responses_input import input_items
from completions.providers.responses_request import body_of_request
from completions.types import CompletionRequest

ENCRYPTED = ["reasoning.encrypted_content"]
USER = {"role": "user", "content": "Hi"}
HI = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
FUNCTION = {"name": "weather", "description": "d", "parameters": {"type": "object"}}


def body(native: dict[str, Any] | None = None, messages: Any = (USER,), stream: bool = True, **parameters: Any) -> Any:
    return body_of_request(CompletionRequest("m", messages, parameters, stream, native=native), stream=stream)


def call(number: int, arguments: str = "{}") -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": "weather", "arguments": arguments}}


class ParameterTests(TestCase):
    def same(self, parameters: dict[str, Any], expected: dict[str, Any]) -> None:
        fixed = {"model": "m", "input": [HI], "stream": True, "store": False, "include": ENCRYPTED}
        self.assertEqual(body(**parameters), {**fixed, **expected})

    def test_nothing_is_stored_there_and_reasoning_comes_back(self) -> None:
        self.same({"store": True}, {})
        self.assertFalse(body(stream=False)["stream"])

    def test_names_that_differ(self) -> None:
        self.same({"max_tokens": 5}, {"max_output_tokens": 5})
        self.same({"max_tokens": 5, "max_completion_tokens": 7}, {"max_output_tokens": 7})
        self.same(
            {"reasoning_effort": "low", "reasoning": {"summary": "auto"}},
            {"reasoning": {"summary": "auto", "effort": "low"}},
        )
        schema = {"name": "s", "schema": {"type": "object"}, "strict": True}
        form = {"format": {"type": "json_schema", **schema}, "verbosity": "low"}
        self.same(
            {"response_format": {"type": "json_schema", "json_schema": schema}, "verbosity": "low"}, {"text": form}
        )
        self.same({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}})
        scored = ["message.output_text.logprobs", *ENCRYPTED]
        self.same({"logprobs": True, "top_logprobs": 2}, {"include": scored, "top_logprobs": 2})
        self.same({"logprobs": False, "top_logprobs": 2}, {})

    def test_what_the_api_lacks_is_not_sent_and_what_is_unknown_is(self) -> None:
        lacking = {"n": 2, "stop": ["x"], "seed": 1, "logit_bias": {}, "presence_penalty": 0.1, "modalities": ["text"]}
        self.same(
            {**lacking, "stream_options": {"include_usage": True}, "temperature": 0.5, "x_new": [1]},
            {"temperature": 0.5, "x_new": [1]},
        )
        self.same({"max_tokens": None, "response_format": None, "tools": None, "logprobs": None}, {})

    def test_tools(self) -> None:
        grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}
        sent = body(
            tools=[
                {"type": "function", "function": FUNCTION},
                {"type": "function", "function": {"name": "f", "strict": True}},
                {"type": "custom", "custom": {"name": "patch", "format": grammar}},
                {"type": "web_search"},
            ]
        )["tools"]
        self.assertEqual(
            sent,
            [
                {"type": "function", **FUNCTION, "strict": False},
                {"type": "function", "name": "f", "parameters": None, "strict": True},
                {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
                {"type": "web_search"},
            ],
        )
        self.assertEqual(body(functions=[FUNCTION])["tools"], sent[:1])

    def test_the_choice_of_a_tool(self) -> None:
        named = {"type": "function", "function": {"name": "f"}}
        flat = {"type": "function", "name": "f"}
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named]}}
        for choice, sent in (
            *((mode, mode) for mode in ("none", "auto", "required")),
            (named, flat),
            ({"type": "custom", "custom": {"name": "p"}}, {"type": "custom", "name": "p"}),
            (allowed, {"type": "allowed_tools", "mode": "auto", "tools": [flat]}),
            ({"type": "web_search"}, {"type": "web_search"}),
        ):
            self.assertEqual(body(tool_choice=choice)["tool_choice"], sent)
        self.assertEqual(body(function_call={"name": "f"})["tool_choice"], flat)
        self.assertEqual(body(function_call="none")["tool_choice"], "none")

    def test_a_request_of_the_same_api_is_sent_in_its_own_words(self) -> None:
        native = {
            "tools": [{"type": "web_search", "x_new": 1}, {"type": "function", "name": "f"}],
            "include": ["web_search_call.action.sources"],
            "stream_options": {"include_obfuscation": False},
            "x_new": {"deep": [None]},
        }
        sent = body(native, temperature=0.1)
        include = ["web_search_call.action.sources", *ENCRYPTED]
        own = {"model": "m", "input": [HI], "stream": True, "store": False, "include": include}
        self.assertEqual(sent, {**native, **own})
        self.assertNotIn("stream_options", body(native, stream=False))
        self.assertEqual(native["include"], ["web_search_call.action.sources"])
        self.assertEqual(body({"include": ENCRYPTED})["include"], ENCRYPTED)


class InputTests(TestCase):
    def test_roles_and_parts(self) -> None:
        file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}
        parts = [
            {"type": "text", "text": "See"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
            {"type": "image_url", "image_url": {"file_id": "file-1"}},
            {"type": "image_url", "image_url": "https://a.example/b.png"},
            {"type": "file", "file": file},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        ]
        told, asked = input_items(
            [{"role": "developer", "content": "d", "name": "n"}, {"role": "user", "content": parts}]
        )
        self.assertEqual(
            told, {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "d"}]}
        )
        self.assertEqual(
            asked["content"],
            [
                {"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
                {"type": "input_image", "file_id": "file-1", "detail": "auto"},
                {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "auto"},
                {"type": "input_file", **file},
                parts[-1],
            ],
        )

    def test_an_answer_is_its_reasoning_its_text_and_its_calls(self) -> None:
        details = [
            {"type": "reasoning.summary", "id": "rs_1", "index": 0, "summary": "Why."},
            {"type": "reasoning.encrypted", "id": "rs_1", "index": 1, "data": "gAAA="},
            {"type": "reasoning.text", "id": "rs_2", "index": 2, "text": "I think"},
            {"type": "reasoning.unheard", "id": "rs_3"},
            {"type": "reasoning.summary", "id": "rs_4", "summary": "of another server"},
        ]
        answer = {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning": "Why.",
            "reasoning_details": details,
            "refusal": None,
            "annotations": [{"type": "url_citation", "url_citation": {}}],
            "tool_calls": [call(1), {"id": "call_c", "type": "custom", "custom": {"name": "patch", "input": "- a"}}],
        }
        results: list[Any] = [
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            {
                "role": "tool",
                "tool_call_id": "call_c",
                "content": [{"type": "text", "text": "o"}, {"type": "text", "text": "k"}],
            },
        ]
        self.assertEqual(
            input_items([answer, *results]),
            [
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "Why."}],
                    "encrypted_content": "gAAA=",
                },
                {
                    "type": "reasoning",
                    "id": "rs_2",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "I think"}],
                },
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
                },
                {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
                {"type": "custom_tool_call", "call_id": "call_c", "name": "patch", "input": "- a"},
                {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
                {"type": "custom_tool_call_output", "call_id": "call_c", "output": "ok"},
            ],
        )

    def test_encrypted_reasoning_is_never_sent_beside_its_text(self) -> None:
        details = [
            {"type": "reasoning.text", "id": "r", "text": "t"},
            {"type": "reasoning.encrypted", "id": "r", "data": "e"},
        ]
        (item,) = input_items([{"role": "assistant", "content": "", "reasoning_details": details}])
        self.assertEqual(item, {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "e"})
        unnamed = [{"type": "reasoning.encrypted", "data": "a"}, {"type": "reasoning.encrypted", "data": "b"}]
        items = input_items([{"role": "assistant", "content": "", "reasoning_details": unnamed}])
        self.assertEqual([each["encrypted_content"] for each in items], ["a", "b"])

    def test_calls_in_a_namespace_and_of_the_local_shell(self) -> None:
        action = {"type": "exec", "command": ["ls"], "env": {}}
        calls = [
            {"id": "call_1", "type": "function", "function": {"name": "f", "namespace": "n", "arguments": "{}"}},
            {"id": "call_2", "type": "custom", "custom": {"name": "c", "namespace": "n", "input": "- a"}},
            {"id": "call_3", "type": "local_shell", "local_shell": {"action": action}},
        ]
        wire = {"role": "assistant", "content": None, "tool_calls": calls}
        self.assertEqual(
            input_items([wire]),
            [
                {"type": "function_call", "call_id": "call_1", "name": "f", "namespace": "n", "arguments": "{}"},
                {"type": "custom_tool_call", "call_id": "call_2", "name": "c", "namespace": "n", "input": "- a"},
                {"type": "local_shell_call", "call_id": "call_3", "status": "completed", "action": action},
            ],
        )
        told = [call["function"] for call in with_chat_calls(wire)["tool_calls"]]
        self.assertEqual([each["name"] for each in told], ["n__f", "n__c", "local_shell"])
        plain = {"role": "assistant", "content": None, "tool_calls": [{"type": "custom", "custom": {"name": "c"}}]}
        self.assertIs(with_chat_calls(plain), plain)

    def test_refusals_and_results_with_pictures(self) -> None:
        picture = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "https://a.example"}}]
        refusal, result, empty = input_items(
            [
                {"role": "assistant", "content": None, "refusal": "No."},
                {"role": "tool", "tool_call_id": "c", "content": picture},
                {"role": "tool", "tool_call_id": "c", "content": None},
            ]
        )
        self.assertEqual(refusal["content"], [{"type": "refusal", "refusal": "No."}])
        self.assertEqual([part["type"] for part in result["output"]], ["input_text", "input_image"])
        self.assertEqual(empty["output"], "")

    def test_functions_as_they_once_were(self) -> None:
        items = input_items(
            [
                {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "name": "f", "content": "1"},
                {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "name": "f", "content": "2"},
            ]
        )
        self.assertEqual([item["call_id"] for item in items], ["call_1", "call_1", "call_2", "call_2"])

    def test_items_that_no_chat_message_can_express_are_sent_as_they_are(self) -> None:
        search = {"type": "web_search_call", "id": "ws_1", "action": {}, "x_new": 1}
        reasoned = {"type": "reasoning.encrypted", "id": "rs_1", "data": "e"}
        answer = {"role": "assistant", "content": "See A", "reasoning_details": [reasoned], "tool_calls": [call(1)]}
        kinds = [item["type"] for item in input_items([{**answer, "response_items": [search]}])]
        self.assertEqual(kinds, ["reasoning", "web_search_call", "message", "function_call"])
        self.assertEqual(input_items([{**answer, "response_items": [search]}])[1], search)
        order = {"response_order": ["message", "web_search_call", "reasoning", "reasoning", 5]}
        kinds = [item["type"] for item in input_items([{**answer, **order, "response_items": [search]}])]
        self.assertEqual(kinds, ["message", "web_search_call", "reasoning", "function_call"])
        whole = [{"type": "reasoning", "id": "rs_1"}, search, {"type": "message", "role": "assistant", "content": []}]
        self.assertEqual(input_items([{**answer, "response_items": whole}]), whole)
        for role in ("user", "tool"):
            raw = [{"type": "computer_call_output", "call_id": "c"}]
            self.assertEqual(input_items([{"role": role, "content": "x", "response_items": raw}]), raw)

    def test_nonsense_is_sent_for_the_upstream_to_judge_or_left_out(self) -> None:
        for wire in (
            {},
            {"role": "assistant", "content": 5, "tool_calls": [None, {"id": 1}], "reasoning_details": "x"},
            {"role": "user", "content": [None, 5, "text", {"type": "image_url"}]},
            {"role": "tool", "content": {"a": 1}},
            {"role": "assistant", "response_items": "x", "response_order": [[]], "function_call": []},
            {"role": "assistant", "response_items": [{"type": []}], "response_order": {}},
        ):
            input_items([wire])
