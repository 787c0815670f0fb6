"""The bytes on the OpenAI surface: frames, headers, and what is stored at `[DONE]`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openai import OpenAI

from accounts.models import ApiKey
from chatservice.testing import ServiceTestCase, running_service, tried_once
from completions.models import Chunk, Run
from completions.tests.invariants import invariants
from completions.tests.streaming import URL, body_of, listening
from completions.tests.upstream_wire import TEXT
from completions.token_counts import PATHS, token_counts
from conversations.models import Conversation, Message


@tried_once
class FrameTest(ServiceTestCase):
    def test_a_stream_is_data_lines_and_nothing_the_official_client_stumbles_over(self):
        with listening(self.alice, "fake/ok") as stream:
            stream.rest()
        self.assertEqual(stream.response.headers["content-type"].partition(";")[0], "text/event-stream")
        self.assertIn("no-store", stream.response.headers["cache-control"])
        for line in stream.raw.splitlines():
            self.assertTrue(line == "" or line.startswith("data: "), line)
        self.assertTrue(stream.raw.endswith("data: [DONE]\n\n"))
        self.assertEqual(stream.raw.count("[DONE]"), 1)
        for event in stream.events[:-1]:
            self.assertEqual(event["object"], "chat.completion.chunk")
            self.assertIn("content", event["choices"][0]["delta"])

    def test_a_quiet_line_is_kept_alive_by_comments_without_a_blank_line(self):
        service = self.enterContext(running_service(SSE_HEARTBEAT_SECONDS="0.1"))
        with listening(self.alice, "fake/slow:500ms:2", url=service.url) as stream:
            stream.rest()
        self.assertIn(": keepalive\n", stream.raw)
        self.assertNotIn(": keepalive\n\n", stream.raw)
        self.assertEqual(stream.text, "token token ")

    def test_at_done_the_row_is_there(self):
        for _ in range(10):
            with listening(self.alice, "fake/ok") as stream:
                stream.rest()
            message = Message.objects.get(pk=stream.response.headers["x-message-id"])
            self.assertEqual((message.status, message.content), ("complete", TEXT))

    def test_the_url_may_end_in_a_slash(self):
        self.assertEqual(self.alice.http.post(f"{URL}/", json=body_of("echo")).status_code, 200)
        self.assertEqual(self.alice.http.get("/v1/models/").status_code, 200)
        self.assertEqual(self.alice.http.get("/v1/models/fake/meta/llama-3/").json()["id"], "fake/meta/llama-3")

    def test_every_answer_has_a_request_id_and_a_plain_one_of_the_client_is_kept(self):
        own = self.alice.http.post(URL, json=body_of("echo"), headers={"X-Request-Id": "mine-1"})
        self.assertEqual(own.headers["x-request-id"], "mine-1")
        for headers in ({}, {"X-Request-Id": "x" * 200}, {"X-Request-Id": "a b"}):
            given = self.alice.http.get("/v1/models", headers=headers).headers["x-request-id"]
            self.assertRegex(given, r"\Areq_[0-9a-f]{32}\Z")
        self.assertTrue(self.guest.get("/v1/nothing").headers["x-request-id"])

    def test_a_run_names_its_key_and_its_request_and_counts_its_tokens(self):
        answer = self.alice.http.post(URL, json=body_of("fake/ok"), headers={"X-Request-Id": "mine-2"})
        run, usage = Run.objects.get(request_id="mine-2"), answer.json()["usage"]
        self.assertEqual(run.api_key_id, ApiKey.objects.get(user=self.alice.user).pk)
        self.assertEqual(token_counts(usage), {name: getattr(run, name) for name in PATHS})
        self.assertEqual((run.input_tokens, run.output_tokens), (usage["prompt_tokens"], usage["completion_tokens"]))

    def test_an_unknown_route_and_a_wrong_method_are_openais_error(self):
        for response, status in ((self.alice.http.get("/v1/nothing"), 404), (self.alice.http.put(URL), 405)):
            self.assertEqual(response.status_code, status)
            self.assertEqual(set(response.json()["error"]), {"message", "type", "param", "code"})
            self.assertEqual(response.headers["x-content-type-options"], "nosniff")


@tried_once
class HistoryTest(ServiceTestCase):
    def test_store_false_leaves_nothing_that_was_said(self):
        for stream in (True, False):
            response = self.alice.http.post(URL, json=body_of("fake/ok", "a secret", store=False, stream=stream))
            self.assertEqual(response.status_code, 200)
            self.assertNotIn("x-conversation-id", response.headers)
            run = Run.objects.get(pk=response.headers["x-run-id"])
            self.assertEqual((run.state, run.message_id), ("complete", None))
            self.assertNotIn("secret", str(Run.objects.filter(pk=run.pk).values().get()))
        self.assertFalse(Conversation.objects.filter(owner=self.alice.user).exists())
        self.assertFalse(Chunk.objects.filter(run__user=self.alice.user).exists())

    def test_equal_prompts_are_conversations_and_an_answer_goes_on(self):
        key, body = {"Idempotency-Key": "equal"}, body_of("fake/ok", "ping")
        asked = [self.alice.http.post(URL, json=body, headers=headers) for headers in (key, key, {}, {})]
        talks = [answer.headers["x-conversation-id"] for answer in asked]
        self.assertEqual(len(set(talks)), 3)  # those with the same key are the same
        said = [*body["messages"], asked[-1].json()["choices"][0]["message"]]
        more = self.alice.http.post(
            URL, json={"model": "fake/ok", "messages": [*said, {"role": "user", "content": "?"}]}
        )
        self.assertEqual(more.headers["x-conversation-id"], talks[-1])

    def test_a_loop_of_tool_calls_is_one_conversation(self):
        for stream in (False, True):
            client = OpenAI(base_url=f"{self.service.url}/v1", api_key=self.alice.secret, max_retries=0)
            said: list[Any] = [{"role": "user", "content": f"weather? {stream}"}]
            if stream:
                with client.chat.completions.stream(model="fake/tools", messages=said) as answer:
                    message: Any = answer.get_final_completion().choices[0].message
                message.role = "assistant"  # this upstream says it twice, and the client joins both
            else:
                message = client.chat.completions.create(model="fake/tools", messages=said).choices[0].message
            assert message.tool_calls
            result: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
            sent: Any
            for sent in (message, message.model_dump(), message.model_dump(exclude_none=True)):
                client.chat.completions.create(model="fake/ok", messages=[*said, sent, result])
            talk = Conversation.objects.get(owner=self.alice.user, title=said[0]["content"])
            self.assertEqual(Message.objects.of(talk.pk).count(), 3 + 3)

    def test_the_same_key_bills_once_and_tells_the_same(self):
        body = body_of("fake/ok", f"asked by {self.alice.user.username}")
        for stream in (False, True):
            headers = {"Idempotency-Key": f"key-{stream}"}
            before = len(self.upstream.posts)
            answers = [self.alice.http.post(URL, json={**body, "stream": stream}, headers=headers) for _ in range(3)]
            self.assertEqual(len(self.upstream.posts), before + 1)
            self.assertEqual({answer.status_code for answer in answers}, {200})
            self.assertEqual(len({answer.headers["x-run-id"] for answer in answers}), 1)
            if not stream:
                told = {answer.json()["choices"][0]["message"]["content"] for answer in answers}
                self.assertEqual((told, len({answer.json()["id"] for answer in answers})), ({TEXT}, 1))

    def test_duplicates_at_the_same_time_on_two_processes_bill_once(self):
        alice, headers = self.alice, {"Idempotency-Key": "together"}
        body = body_of("fake/slow:5ms:40", f"asked by {self.alice.user.username}", stream=True)
        before = len(self.upstream.posts)
        with running_service() as other:

            def ask(number: int) -> str:
                url = (self.service.url if number % 2 else other.url) + URL
                return alice.http.post(url, json=body, headers=headers).text

            with ThreadPoolExecutor(10) as threads:
                texts = list(threads.map(ask, range(10)))
        self.assertEqual(len(self.upstream.posts), before + 1)
        for text in texts:
            self.assertEqual(text.count("token"), 40)
            self.assertTrue(text.endswith("data: [DONE]\n\n"))
        self.assertEqual(invariants([self.alice.user]), [])

    def test_another_body_under_the_same_key_is_refused_and_bad_keys_too(self):
        headers = {"Idempotency-Key": "key-2"}
        self.assertEqual(self.alice.http.post(URL, json=body_of("echo"), headers=headers).status_code, 200)
        other = self.alice.http.post(URL, json=body_of("echo", "other"), headers=headers)
        self.assertEqual((other.status_code, other.json()["error"]["code"]), (422, "idempotency_mismatch"))
        self.assertEqual(self.bob.http.post(URL, json=body_of("echo", "other"), headers=headers).status_code, 200)
        for key in ("x" * 256, "a b"):
            bad = self.alice.http.post(URL, json=body_of("echo"), headers={"Idempotency-Key": key})
            self.assertEqual((bad.status_code, bad.json()["error"]["code"]), (400, "invalid_idempotency_key"))
        longest = {"Idempotency-Key": "x" * 255}
        self.assertEqual(self.alice.http.post(URL, json=body_of("echo"), headers=longest).status_code, 200)
