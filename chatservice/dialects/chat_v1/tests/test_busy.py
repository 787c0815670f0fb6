"""A second message while an answer is written: refused, instead of it, or after it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx2

from chatservice.docs import schema_of
from chatservice.testing import ServiceTestCase, sse_data, wait_until
from completions.models import Run
from completions.tests.invariants import invariants
from conversations.models import Message

BASE = "/v1/chat"
HELD = "fake/held"


class BusyTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.marker = f"begin {uuid.uuid4().hex}"
        first = self.begin()
        self.talk, self.first_run, self.answer = (
            first.headers[f"x-{name}-id"] for name in ("conversation", "run", "message")
        )
        self.messages = f"{BASE}/conversations/{self.talk}/messages"

    def begin(self) -> httpx2.Response:
        body = {"content": self.marker, "model": HELD}
        with self.alice.http.stream("POST", f"{BASE}/conversations/stream", json=body) as response:
            next(line for line in response.iter_lines() if "ai_chunk" in line)
        return response

    def send(
        self, content: str, path: str = "", headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx2.Response:
        body = {"content": content, "model": "fake/echo-body", **fields}
        return self.alice.http.post(f"{self.messages}{path}", json=body, headers=headers or {})

    def state_of(self, run: str) -> str:
        return Run.objects.get(pk=run).state

    def tearDown(self) -> None:
        self.upstream.release(self.marker)
        wait_until(lambda: not Run.objects.filter(user=self.alice.user).to_stop(), what="the end")
        self.assertEqual(invariants([self.alice.user]), [])
        super().tearDown()

    def test_a_question_that_waits_is_202_with_its_run_and_can_be_followed(self) -> None:
        first, second = (self.send(text, when_busy="queue") for text in ("two", "three"))
        for response in (first, second):
            self.assertEqual(response.status_code, 202, response.text)
            body = response.json()
            self.assertEqual(set(body), {"success", "data", "message"})
            self.assertEqual((body["data"]["status"], body["data"]["conversation_id"]), ("queued", self.talk))
            for name in ("run", "message"):
                key = "id" if name == "run" else "message_id"
                self.assertEqual(response.headers[f"x-{name}-id"], body["data"][key])
            question = Message.objects.get(pk=body["data"]["question_id"])
            self.assertEqual(question.status, "complete")
        two = Message.objects.get(conversation_id=self.talk, content="two")
        self.assertEqual(str(two.parent_id), self.answer)
        self.upstream.release(self.marker)
        followed = self.alice.http.get(f"{BASE}/runs/{second.json()['data']['id']}/stream")
        events = [json.loads(data) for data in sse_data(followed.text)[:-1]]
        self.assertEqual((events[0]["type"], events[-1]["type"]), ("user_message", "ai_complete"))
        sent = json.loads(events[-1]["data"]["content"])["messages"]
        self.assertEqual([each["role"] for each in sent], ["user", "assistant", "user", "assistant", "user"])
        self.assertEqual((sent[0]["content"], sent[2]["content"], sent[4]["content"]), (self.marker, "two", "three"))
        shown = self.alice.http.get(self.messages).json()["data"]
        self.assertEqual([each["role"] for each in shown], ["user", "assistant"] * 3)

    def test_a_stream_waits(self) -> None:
        body = {"content": "two", "model": "fake/ok", "when_busy": "queue"}
        with self.alice.http.stream("POST", f"{self.messages}/stream", json=body) as response:
            self.assertEqual(response.status_code, 200)
            lines = response.iter_lines()
            opening = next(line for line in lines if line.startswith("data:"))
            self.assertIn('"user_message"', opening)
            self.assertEqual(self.state_of(response.headers["x-run-id"]), "queued")
            self.upstream.release(self.marker)
            rest = "\n".join(lines)
        self.assertIn("ai_chunk", rest)
        self.assertIn("ai_complete", rest)

    def test_one_who_leaves_and_asked_for_it_takes_the_question_back(self) -> None:
        body = {"content": "two", "when_busy": "queue"}
        headers = {"X-On-Disconnect": "cancel"}
        with self.alice.http.stream("POST", f"{self.messages}/stream", json=body, headers=headers) as response:
            next(line for line in response.iter_lines() if "user_message" in line)
        run = response.headers["x-run-id"]
        wait_until(lambda: self.state_of(run) == "cancelled", what="the end of what waits")
        self.assertEqual(self.state_of(self.first_run), "running")

    def test_instead_of_the_answer_whose_text_is_kept(self) -> None:
        waiting = self.send("two", when_busy="queue").json()["data"]
        response = self.send("Rather this", when_busy="interrupt")
        self.assertEqual(response.status_code, 201, response.text)
        self.assertEqual((self.state_of(self.first_run), self.state_of(waiting["id"])), ("cancelled", "cancelled"))
        kept = Message.objects.get(pk=self.answer)
        self.assertEqual((kept.status, bool(kept.content)), ("cancelled", True))
        self.assertEqual(response.json()["data"][0]["parent_id"], waiting["message_id"])
        sent = json.loads(response.json()["data"][1]["content"])["messages"]
        self.assertIn(kept.content, [each["content"] for each in sent])

    def test_without_it_or_with_null_or_reject_it_is_refused(self) -> None:
        for fields in ({}, {"when_busy": None}, {"when_busy": "reject"}):
            for path in ("", "/stream"):
                response = self.send("two", path, **fields)
                self.assertEqual((response.status_code, response.json()["error"]["code"]), (409, "conversation_busy"))

    def test_what_it_cannot_be_is_refused_in_this_apis_shape(self) -> None:
        wrongs: tuple[Any, ...] = ("Queue", "wait", "", 1, True, ["queue"], {})
        for wrong in wrongs:
            response = self.send("two", when_busy=wrong)
            self.assertEqual((response.status_code, response.json()["error"]["code"]), (400, "validation_error"), wrong)
            self.assertIn("when_busy", response.json()["error"]["details"])

    def test_the_eleventh_is_refused_by_name(self) -> None:
        waiting = [self.send(f"number {n}", when_busy="queue") for n in range(11)]
        self.assertEqual([each.status_code for each in waiting], [202] * 10 + [429])
        self.assertEqual(waiting[10].json()["error"]["code"], "queue_full")
        self.assertIn("At most 10 ", waiting[10].json()["message"])
        self.assertIn("LIMIT_QUEUED_PER_CONVERSATION", waiting[10].json()["message"])
        self.assertIn("retry-after", waiting[10].headers)

    def test_cancelled_before_it_began(self) -> None:
        waiting = self.send("two", when_busy="queue").json()["data"]
        stranger = self.bob.http.post(f"{BASE}/runs/{waiting['id']}/cancel")
        self.assertEqual((stranger.status_code, self.state_of(waiting["id"])), (404, "queued"))
        stopped = self.alice.http.post(f"{BASE}/messages/{waiting['message_id']}/cancel")
        self.assertEqual((stopped.status_code, stopped.json()["data"]["status"]), (200, "cancelled"))
        self.assertEqual((self.state_of(self.first_run), self.state_of(waiting["id"])), ("running", "cancelled"))

    def test_bob_neither_queues_nor_interrupts(self) -> None:
        for when_busy in ("queue", "interrupt"):
            refused = self.bob.http.post(self.messages, json={"content": "x", "when_busy": when_busy})
            self.assertEqual(refused.status_code, 404)
        self.assertEqual(self.state_of(self.first_run), "running")

    def test_the_same_key_is_the_same_run(self) -> None:
        key = {"Idempotency-Key": f"k-{self.marker[-8:]}"}
        first, again = (self.send("two", headers=key, when_busy="queue") for _ in range(2))
        self.assertEqual((first.status_code, again.status_code), (202, 202))
        self.assertEqual(first.json()["data"]["id"], again.json()["data"]["id"])
        other = self.send("three", headers=key, when_busy="queue")
        self.assertEqual((other.status_code, other.json()["error"]["code"]), (422, "idempotency_mismatch"))
        self.upstream.release(self.marker)
        # Not told to queue, the same request waits for the answer.
        whole = self.send("two", headers=key)
        self.assertEqual((whole.status_code, whole.headers["x-run-id"]), (201, first.headers["x-run-id"]))
        self.assertEqual(self.send("two", headers=key, when_busy="interrupt").status_code, 201)
        self.assertEqual(Message.objects.filter(conversation_id=self.talk, content="two").count(), 1)

    def test_another_answer_to_the_same_question_waits_too(self) -> None:
        body = {"model": "fake/ok", "when_busy": "queue"}
        again = self.alice.http.post(f"{BASE}/messages/{self.answer}/regenerate", json=body)
        self.assertEqual((again.status_code, again.json()["data"]["status"]), (202, "queued"), again.text)
        self.upstream.release(self.marker)
        wait_until(lambda: self.state_of(again.json()["data"]["id"]) == "complete", what="the other answer")

    def test_a_deleted_conversation_is_gone_with_what_waits(self) -> None:
        waiting = self.send("two", when_busy="queue").json()["data"]
        self.assertEqual(self.alice.http.delete(f"{BASE}/conversations/{self.talk}").status_code, 200)
        self.assertFalse(Run.objects.filter(pk__in=[self.first_run, waiting["id"]]).exists())
        gone = sse_data(self.alice.http.get(f"{BASE}/runs/{waiting['id']}/stream").text)
        self.assertEqual(len(gone), 0)

    def test_openapi_names_what_it_may_be(self) -> None:
        schema = schema_of("chat_v1")
        shapes = schema["components"]["schemas"]
        self.assertEqual(shapes["WhenBusyEnum"]["enum"], ["reject", "interrupt", "queue"])
        for name in ("NewMessageRequest", "NewStreamedMessageRequest", "GenerationRequest"):
            self.assertIn("WhenBusyEnum", json.dumps(shapes[name]["properties"]["when_busy"]))
        self.assertNotIn("when_busy", shapes["StartedConversationRequest"]["properties"])
        for path in ("conversations/{conversation_id}/messages", "messages/{message_id}/regenerate"):
            self.assertIn("202", schema["paths"][f"{BASE}/{path}"]["post"]["responses"])
