"""The Responses API over a server of chat completions: what is sent there, what comes back, what is continued."""

from __future__ import annotations

import base64
import threading
import time
from typing import Any

from chatservice.dialects.openai_v1.tests.responses_case import PATH, ResponsesTestCase, answered, said
from chatservice.testing import wait_until
from completions.models import Run
from completions.tests.upstream_wire import TEXT
from conversations.models import Conversation, Message

FUNCTIONS = [
    {"type": "function", "name": name, "parameters": {"type": "object"}, "strict": True, "description": name}
    for name in ("f", "g", "weather")
]
SENT = [{"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}} for tool in FUNCTIONS]
PICTURE = "data:image/png;base64,iVBORw0KGgo="


class ToolsTest(ResponsesTestCase):
    def test_parallel_calls_are_items_whether_streamed_or_whole(self):
        for response in (
            self.ask(model="fake/body:calls-at-once", tools=FUNCTIONS),
            self.streamed(model="fake/body:calls-at-once", tools=FUNCTIONS),
            self.streamed(model="fake/body:calls-interleaved", tools=FUNCTIONS),
        ):
            calls = [(item["type"], item["call_id"], item["name"], item["arguments"]) for item in response["output"]]
            self.assertEqual(calls, [("function_call", "c1", "f", '{"a":1}'), ("function_call", "c2", "g", '{"b":2}')])
            self.assertEqual(self.get(response["id"])["output"], response["output"])
            self.assertEqual(self.sent["tools"], SENT)
            self.assertEqual(response["tools"], FUNCTIONS)

    def test_a_call_has_its_id_from_its_first_event_on(self):
        for body in ("calls-named-first", "calls-without-ids", "calls-name-in-pieces", "calls-late-arguments"):
            text = self.alice.http.post(PATH, json={"model": f"fake/body:{body}", "input": "x", "stream": True}).text
            self.assertNotIn('"call_id":""', text, body)
            self.streamed(model=f"fake/body:{body}")

    def test_results_ask_on_from_the_response_with_the_calls(self):
        first = self.ask("Weather?", model="fake/body:calls-at-once", tools=FUNCTIONS)
        results = answered(("c2", "cold"), ("c1", [{"type": "input_text", "text": "hot"}]))
        second = self.ask(results, previous_response_id=first["id"])
        self.assertEqual(said(second), TEXT)
        question, call, *told = self.sent["messages"]
        self.assertEqual(question, {"role": "user", "content": "Weather?"})
        self.assertEqual([each["id"] for each in call["tool_calls"]], ["c1", "c2"])
        self.assertEqual(
            told,
            [
                {"role": "tool", "tool_call_id": "c1", "content": "hot"},
                {"role": "tool", "tool_call_id": "c2", "content": "cold"},
            ],
        )
        self.assertNotIn("tools", self.sent)
        items = self.input_items(second["id"])
        self.assertEqual(
            [(item["type"], item["call_id"]) for item in items],
            [("function_call_output", "c2"), ("function_call_output", "c1")],
        )
        self.assertEqual(len(self.input_items(first["id"])), 1)

    def test_a_history_that_is_resent_is_the_same_conversation(self):
        history: list[Any] = [{"role": "user", "content": "Weather?"}]
        ids = []
        for model, more in (
            ("fake/body:calls-at-once", [*answered(("c1", "hot"), ("c2", "cold"))]),
            ("fake/reasoning", [{"role": "user", "content": [{"type": "input_text", "text": "And now?"}]}]),
            ("fake/refusal", [{"role": "user", "content": "Please"}]),
            ("fake/ok", [{"role": "user", "content": "Bye"}]),
        ):
            response = self.ask(history, model=model)
            ids.append(response["id"])
            # As the official client's documentation does it: what came out goes in again.
            history += [*response["output"], *more]
        [conversation] = Conversation.objects.filter(owner=self.alice.user)
        stored = list(Message.objects.of(conversation.pk).order_by("position").values_list("role", flat=True))
        self.assertEqual(
            stored, ["user", "assistant", "tool", "tool", "assistant", "user", "assistant", "user", "assistant"]
        )
        self.assertEqual({self.run_of({"id": each}).conversation_id for each in ids}, {conversation.pk})
        # A server of chat completions gets what it can read.
        for message in self.sent["messages"]:
            self.assertLessEqual(message.keys(), {"role", "content", "tool_calls", "tool_call_id"})
        # It sent all of it, so all of it is its input.
        self.assertEqual(len(self.input_items(ids[-1])), len(history) - 2)

    def test_every_form_of_a_choice_reaches_the_upstream(self):
        forms: tuple[tuple[Any, Any], ...] = (
            ("none", "none"),
            ("auto", "auto"),
            ("required", "required"),
            ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        )
        for given, expected in forms:
            response = self.ask(tools=FUNCTIONS, tool_choice=given, parallel_tool_calls=False)
            self.assertEqual((self.sent["tool_choice"], response["tool_choice"]), (expected, given))
            self.assertEqual((self.sent["parallel_tool_calls"], self.sent["tools"]), (False, SENT))
        allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
        response = self.ask(tools=FUNCTIONS, tool_choice=allowed)
        self.assertEqual((self.sent["tools"], self.sent["tool_choice"]), ([SENT[1]], "required"))
        self.assertEqual(response["tool_choice"], allowed)
        self.ask(tool_choice="auto")
        self.assertNotIn("tool_choice", self.sent)

    def test_tools_that_nobody_can_run_are_refused_in_words(self):
        error = self.ask(tools=[{"type": "web_search"}], status=400)["error"]
        self.assertEqual((error["code"], error["param"]), ("unsupported_tool", "tools"))
        self.assertIn("web_search", error["message"])


class RequestTest(ResponsesTestCase):
    def test_formats_reach_the_upstream_as_chat_completions_have_them(self):
        schema = {"name": "joke", "schema": {"type": "object", "additionalProperties": False}, "strict": True}
        for given, expected in (
            ({"type": "text"}, None),
            ({"type": "json_object"}, {"type": "json_object"}),
            ({"type": "json_schema", **schema}, {"type": "json_schema", "json_schema": schema}),
        ):
            response = self.ask(text={"format": given, "verbosity": "low"})
            self.assertEqual(self.sent.get("response_format"), expected)
            self.assertEqual((self.sent["verbosity"], response["text"]["format"]), ("low", given))

    def test_what_is_asked_of_the_model_reaches_it_and_is_repeated(self):
        given: dict[str, Any] = {
            "temperature": 0.5, "top_p": 0.9, "presence_penalty": 1.5, "frequency_penalty": -1.0, "user": "u",
            "metadata": {"topic": "jokes", "a": "b"}, "truncation": "auto", "service_tier": "flex",
            "safety_identifier": "s", "prompt_cache_key": "k", "max_tool_calls": 3,
        }  # fmt: skip
        response = self.ask(**given, reasoning={"effort": "low"}, max_output_tokens=50)
        for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty", "user"):
            self.assertEqual(self.sent[name], given[name])
        self.assertEqual((self.sent["reasoning_effort"], self.sent["max_tokens"]), ("low", 50))
        self.assertLessEqual(
            self.sent.keys(),
            {"model", "messages", "stream", "stream_options", "reasoning_effort", "max_tokens", *given}
            - {"metadata", "truncation", "service_tier", "safety_identifier", "prompt_cache_key", "max_tool_calls"},
        )
        again = self.get(response["id"])
        self.assertEqual(again, response)
        for name, value in given.items():
            self.assertEqual(again[name], value, name)

    def test_instructions_hold_for_one_answer(self):
        first = self.ask("One", instructions="Be brief")
        second = self.ask("Two", previous_response_id=first["id"])
        self.assertEqual(
            [(message["role"], message["content"]) for message in self.sent["messages"]],
            [("user", "One"), ("assistant", TEXT), ("user", "Two")],
        )
        third = self.ask("Three", previous_response_id=second["id"], instructions="Be polite")
        self.assertEqual(self.sent["messages"][0], {"role": "system", "content": "Be polite"})
        self.assertEqual([each["instructions"] for each in (first, second, third)], ["Be brief", None, "Be polite"])
        self.assertFalse(Message.objects.filter(conversation__owner=self.alice.user, role="system").exists())
        self.assertEqual([said_in(item) for item in self.input_items(third["id"])], ["Three"])

    def test_pictures_and_files_reach_the_upstream(self):
        parts = [
            {"type": "input_text", "text": "What is it?"},
            {"type": "input_image", "image_url": PICTURE, "detail": "low"},
            {"type": "input_file", "file_data": "data:text/plain;base64,YQ==", "filename": "a.txt"},
        ]
        expected = [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
            {"type": "file", "file": {"file_data": "data:text/plain;base64,YQ==", "filename": "a.txt"}},
        ]
        first = self.ask([{"role": "user", "content": parts}])
        self.assertEqual(self.sent["messages"], [{"role": "user", "content": expected}])
        _, picture, file = self.input_items(first["id"])[0]["content"]
        self.assertEqual((picture["image_url"], picture["detail"], file["filename"]), (None, "low", "a.txt"))
        for part, content in ((picture, base64.b64decode(PICTURE.partition(",")[2])), (file, b"a")):
            self.assertEqual(self.alice.http.get(f"/v1/files/{part['file_id']}/content").content, content)
        self.ask("And now?", previous_response_id=first["id"])
        self.assertEqual(self.sent["messages"][0], {"role": "user", "content": expected})

    def test_log_probabilities_come_only_if_they_were_asked_for(self):
        asked: dict[str, Any] = {
            "model": "fake/logprobs",
            "include": ["message.output_text.logprobs"],
            "top_logprobs": 2,
        }
        for response in (self.ask(**asked), self.streamed(**asked)):
            [part] = response["output"][0]["content"]
            self.assertEqual("".join([each["token"] for each in part["logprobs"]]), TEXT)
            self.assertEqual((self.sent["logprobs"], self.sent["top_logprobs"]), (True, 2))
        plain = self.ask(model="fake/logprobs")
        self.assertEqual(plain["output"][0]["content"][0]["logprobs"], [])
        self.assertNotIn("logprobs", self.sent)
        later = self.get(plain["id"], include="message.output_text.logprobs")
        self.assertEqual(len(later["output"][0]["content"][0]["logprobs"]), 6)

    def test_reasoning_is_an_item_and_given_back(self):
        for response in (self.ask(model="fake/reasoning"), self.streamed(model="fake/reasoning")):
            reasoning, message = response["output"]
            self.assertEqual(reasoning["summary"], [{"type": "summary_text", "text": "Let me think"}])
            self.assertEqual(message["content"][0]["text"], TEXT)
            again = self.get(response["id"])
            self.assertEqual(again["output"], response["output"])
            reference = {"type": "item_reference", "id": reasoning["id"]}
            self.ask([{"role": "user", "content": "x"}, reference, message, {"role": "user", "content": "y"}])
            self.assertEqual([each["role"] for each in self.sent["messages"]], ["user", "assistant", "user"])

    def test_refusals_and_incomplete_answers_say_what_they_are(self):
        for ask in (self.ask, self.streamed):
            refused = ask(model="fake/refusal")
            [part] = refused["output"][0]["content"]
            self.assertEqual((refused["status"], part), ("completed", {"type": "refusal", "refusal": "I cannot."}))
            cut = ask(model="fake/reasoning-only", max_output_tokens=5)
            self.assertEqual(
                (cut["status"], cut["incomplete_details"]), ("incomplete", {"reason": "max_output_tokens"})
            )
            filtered = ask(model="fake/nothing:content_filter")
            self.assertEqual(filtered["incomplete_details"], {"reason": "content_filter"})
            for response in (refused, cut, filtered):
                self.assertEqual(self.get(response["id"]), response)

    def test_nothing_is_left_out_unless_truncation_is_auto(self):
        long = "word " * 40_000
        first = self.ask(long, model="fake/ok")
        self.ask("And?", previous_response_id=first["id"])
        self.assertEqual(len(self.sent["messages"]), 3)
        cut = self.ask("And?", previous_response_id=first["id"], truncation="auto")
        self.assertEqual([each["content"] for each in self.sent["messages"]][-1], "And?")
        self.assertLess(len(str(self.sent["messages"])), len(long))
        self.assertEqual(cut["truncation"], "auto")

    def test_failures_before_any_text_have_a_status_and_later_ones_are_told_with_it(self):
        for stream in (False, True):
            error = self.ask(model="fake/http-400", stream=stream, status=400)["error"]
            self.assertNotIn("sk-test", error["message"])
        error = self.ask(model="fake/error-mid-stream", status=502)["error"]
        response = self.streamed(model="fake/error-mid-stream")
        self.assertEqual((response["status"], said(response)), ("failed", "Hello"))
        self.assertEqual(response["output"][0]["status"], "incomplete")
        self.assertEqual(error["code"], response["error"]["code"])
        stored = self.get(response["id"])
        self.assertEqual(stored, response)
        self.ask("Go on", previous_response_id=response["id"])
        self.assertEqual(self.sent["messages"][1], {"role": "assistant", "content": "Hello"})


def said_in(item: dict[str, Any]) -> str:
    return "".join([part["text"] for part in item["content"]])


class StoreTest(ResponsesTestCase):
    def counts(self) -> tuple[int, int]:
        owned = {"conversation__owner": self.alice.user}
        return Conversation.objects.filter(owner=self.alice.user).count(), Message.objects.filter(**owned).count()

    def test_what_is_not_to_be_stored_is_not(self):
        first = self.ask("One")
        before = self.counts()
        for fields in ({}, {"previous_response_id": first["id"]}, {"stream": True}):
            ask = self.streamed if fields.pop("stream", False) else self.ask
            response = ask("Secret", store=False, **fields)
            self.assertEqual((said(response), response["store"]), (TEXT, False))
            self.assertEqual(self.alice.http.get(f"{PATH}/{response['id']}").status_code, 404)
            self.assertEqual(self.alice.http.get(f"{PATH}/{response['id']}?stream=true").status_code, 404)
            error = self.ask("x", previous_response_id=response["id"], status=400)["error"]
            self.assertEqual((error["code"], error["param"]), ("previous_response_not_found", "previous_response_id"))
            [run] = Run.objects.filter(pk=self.run_of(response).pk)
            self.assertNotIn("Secret", str([run.parameters, run.request, run.echo]))
        self.assertEqual(self.counts(), before)
        self.ask("Two", store=False, previous_response_id=first["id"])
        self.assertEqual([each["content"] for each in self.sent["messages"]], ["One", TEXT, "Two"])

    def test_a_response_that_is_continued_twice_at_once_is_a_fork(self):
        first = self.ask("One")
        answers: dict[int, Any] = {}

        def ask_on(number: int) -> None:
            answers[number] = self.ask(f"Two {number}", previous_response_id=first["id"])

        threads = [threading.Thread(target=ask_on, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(len(answers), 6)
        for number, response in answers.items():
            third = self.ask("Three", previous_response_id=response["id"])
            self.assertEqual(
                [each["content"] for each in self.sent["messages"]], ["One", TEXT, f"Two {number}", TEXT, "Three"]
            )
            self.assertEqual([said_in(item) for item in self.input_items(response["id"])], [f"Two {number}"])
            self.assertEqual(third["previous_response_id"], response["id"])
        self.assertEqual(self.counts()[0], 1)

    def test_a_key_joins_the_answer_that_was_asked_for(self):
        for fields in ({}, {"store": False}):
            headers = {"Idempotency-Key": f"key-{len(fields)}"}
            bodies = [
                self.alice.http.post(
                    PATH, json={"model": "fake/slow:5ms:40", "input": "x", "stream": True, **fields}, headers=headers
                )
                for _ in range(2)
            ]
            if not fields:
                self.assertEqual(bodies[0].text, bodies[1].text)
                whole = self.ask("x", model="fake/slow:5ms:40", stream=False, headers=headers, status=422)
                self.assertIn("key", whole["error"]["message"].lower())
            self.assertEqual(len({body.headers["x-run-id"] for body in bodies}), 1)

    def test_the_same_key_gets_the_same_times_a_second_later(self):
        for path in (PATH, f"{PATH}/compact"):
            body, headers = {"model": "fake/ok", "input": "x"}, {"Idempotency-Key": path}
            first = self.alice.http.post(path, json=body, headers=headers).json()
            over = first.get("completed_at", first["created_at"])
            _wait_until_after(over + 1)
            self.assertEqual(self.alice.http.post(path, json=body, headers=headers).json(), first)

    def test_bob_sees_none_of_it(self):
        response = self.ask("Private")
        for path in (
            f"{PATH}/{response['id']}",
            f"{PATH}/{response['id']}?stream=true",
            f"{PATH}/{response['id']}/input_items",
        ):
            self.assertEqual(self.bob.http.get(path).status_code, 404)
        self.ask("x", by=self.bob, previous_response_id=response["id"], status=400)
        item = response["output"][0]["id"]
        self.ask([{"type": "item_reference", "id": item}], by=self.bob, status=400)


def _wait_until_after(moment: float) -> None:
    wait_until(lambda: time.time() >= moment, what="another second")
