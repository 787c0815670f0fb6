"""An upstream with the Responses API under the APIs of this service, through the running service."""

from __future__ import annotations

import json
from typing import Any

import openai

from chatservice.testing import Service, ServiceTestCase, needs_dialect, running_service, tried_once
from completions.tests.invariants import invariants
from completions.tests.streaming import URL, body_of
from completions.tests.upstream import FaultyUpstream
from completions.tests.upstream_responses import SEARCH
from completions.tests.upstream_wire import TEXT
from conversations.models import Message

needs_dialect("chat_v1", "openai_v1")
MESSAGES = ({"role": "user", "content": "Hi"},)


@tried_once
class ResponsesTest(ServiceTestCase):
    up: FaultyUpstream
    running: Service

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.up = cls.enterClassContext(FaultyUpstream())
        one = {"base_url": cls.up.base_url, "strip_prefix": True}
        upstreams = {
            "native": {**one, "models": ["native/*"], "api": "responses"},
            "chat": {**one, "models": ["chat/*"]},
        }
        cls.running = cls.enterClassContext(running_service(UPSTREAMS=json.dumps(upstreams)))

    def setUp(self) -> None:
        super().setUp()
        self.up.requests.clear()

    def tearDown(self) -> None:
        self.assertEqual(invariants([self.alice.user]), [])
        super().tearDown()

    def sdk(self) -> Any:
        return openai.OpenAI(base_url=f"{self.running.url}/v1", api_key=self.alice.secret, max_retries=0)

    def say(self, conversation: str, model: str) -> dict[str, Any]:
        path = f"{self.running.url}/v1/chat/conversations/{conversation}/messages"
        response = self.alice.http.post(path, json={"content": "More", "model": model})
        self.assertEqual(response.status_code, 201, response.text)
        return dict(response.json())

    def test_the_official_client_asks_for_chat_completions(self) -> None:
        with self.sdk() as client:
            whole = client.chat.completions.create(model="native/thoughts", messages=MESSAGES)
            with client.chat.completions.stream(model="native/thoughts", messages=MESSAGES) as stream:
                streamed = stream.get_final_completion()
            calls = client.chat.completions.create(model="native/tools", messages=MESSAGES)
        for answer in (whole, streamed):
            message = answer.choices[0].message
            self.assertEqual((message.content, message.reasoning), ("See A", "First.\n\nThen."))
        self.assertEqual(whole.usage.completion_tokens, 6)
        names = [call.function.name for call in calls.choices[0].message.tool_calls]
        self.assertEqual((names, calls.choices[0].finish_reason), (["weather", "weather"], "tool_calls"))

    def test_reasoning_goes_back_to_the_upstream_that_wrote_it_and_to_no_other(self) -> None:
        response = self.alice.http.post(self.running.url + "/v1/chat/conversations", json={"title": "T"})
        conversation = response.json()["data"]["id"]
        self.say(conversation, "native/thoughts")
        stored = Message.objects.get(conversation_id=conversation, upstream="native").as_wire()
        self.assertEqual((stored["content"], stored["response_items"]), ("See A", [SEARCH]))
        self.say(conversation, "native/ok")
        items = self.up.posts[-1].body["input"]
        kinds = [item["type"] for item in items]
        self.assertEqual(kinds, ["message", "reasoning", "web_search_call", "reasoning", "message", "message"])
        self.assertEqual([item["encrypted_content"] for item in items if item["type"] == "reasoning"], ["gAAA="] * 2)
        self.assertEqual(items[2], SEARCH)
        self.say(conversation, "chat/ok")
        self.assertNotIn("gAAA=", json.dumps(self.up.posts[-1].body))

    def test_a_request_of_the_same_api_is_sent_in_its_own_words(self) -> None:
        tools = [{"type": "web_search", "search_context_size": "low"}]
        with self.sdk() as client:
            first = client.responses.create(
                model="native/thoughts", input="Hi", tools=tools, instructions="Be kind.", extra_body={"x_new": [1]}
            )
            self.assertEqual(self.up.posts[-1].body["tools"], tools)
            self.assertEqual(self.up.posts[-1].body["x_new"], [1])
            second = client.responses.create(model="native/round", input="More", previous_response_id=first.id)
            items = self.up.posts[-1].body["input"]
            kinds = [item["type"] for item in items]
            order = ["message", "reasoning", "web_search_call", "reasoning", "message", "message"]
            self.assertEqual(kinds, order)
            result = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
            client.responses.create(model="native/ok", input=[result], previous_response_id=second.id)
            *_, reasoned, said, called, answered = self.up.posts[-1].body["input"]
            self.assertEqual(reasoned["encrypted_content"], "gAAA=")
            self.assertEqual((said["role"], called["call_id"], answered), ("assistant", "call_1", result))
            # A client that keeps everything itself gives the reasoning back, too.
            given = [item.model_dump(exclude_none=True) for item in second.output]
            client.responses.create(model="native/ok", input=[*given, result], store=False)
            self.assertEqual(self.up.posts[-1].body["input"][0]["encrypted_content"], "gAAA=")
            self.assertFalse(self.up.posts[-1].body["store"])

    def test_failures_are_those_of_any_upstream(self) -> None:
        for model, status, code in (
            ("native/other:fastapi", 502, "upstream_invalid"),
            ("native/failed", 502, "server_error"),
            ("native/status:400", 400, "rate_limit_exceeded"),
            ("native/nobody", 404, "model_not_found"),
        ):
            response = self.alice.http.post(self.running.url + URL, json=body_of(model))
            self.assertEqual((response.status_code, response.json()["error"]["code"]), (status, code), response.text)
        log = self.running.log()
        self.assertNotIn("sk-test", log)

    def test_a_stream_arrives(self) -> None:
        response = self.alice.http.post(self.running.url + URL, json=body_of("native/ok", stream=True))
        chunks = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
        texts = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
        self.assertEqual("".join(texts), TEXT)
        self.assertTrue(response.text.rstrip().endswith("[DONE]"))
