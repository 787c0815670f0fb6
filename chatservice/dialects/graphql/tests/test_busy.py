"""`whenBusy`: a second question while an answer is written is refused, stops it, or waits for it."""

from __future__ import annotations

import uuid

from chatservice.dialects.graphql.tests.client import FOLLOW, GraphQLTestCase
from chatservice.testing import wait_until
from completions.models import Run
from completions.tests.invariants import invariants
from conversations.models import Message

SEND = """
    mutation ($content: String!, $to: ID, $model: String, $busy: WhenBusy!, $wait: Boolean!, $key: String) {
        sendMessage(content: $content, conversationId: $to, model: $model, whenBusy: $busy, wait: $wait,
            idempotencyKey: $key) {
            runId conversation { id activeRun { id state } } message { id content status run { state } }
        }
    }
"""
ANSWER = f"""
    subscription ($content: String!, $to: ID, $busy: WhenBusy!) {{
        answer(content: $content, conversationId: $to, model: "fake/ok", whenBusy: $busy) {{ {FOLLOW} }}
    }}
"""


class BusyTest(GraphQLTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.marker = f"begin {uuid.uuid4().hex}"
        self.first = self.ask(self.marker, "REJECT", model="fake/held")
        self.talk = self.first["conversation"]["id"]

    def ask(self, content: str, busy: str, *, to: str | None = None, wait: bool = False, **more: str) -> dict:
        return self.data(SEND, **self.variables(content, busy, to=to, wait=wait, **more))["sendMessage"]

    def variables(self, content: str, busy: str, *, to: str | None, wait: bool = False, **more: str) -> dict:
        return {"content": content, "busy": busy, "to": to, "wait": wait, "model": "fake/ok", **more}

    def tearDown(self) -> None:
        self.upstream.release(self.marker)
        wait_until(lambda: not Run.objects.filter(user=self.alice.user).to_stop(), what="the end")
        self.assertEqual(invariants([self.alice.user]), [])
        super().tearDown()

    def test_it_waits_and_says_so(self) -> None:
        begun = self.ask("two", "QUEUE", to=self.talk, key="k")
        self.assertEqual((begun["message"]["status"], begun["message"]["run"]), ("in_progress", {"state": "queued"}))
        self.assertEqual(begun["conversation"]["activeRun"], {"id": self.first["runId"], "state": "running"})
        self.assertEqual(self.ask("two", "QUEUE", to=self.talk, key="k")["runId"], begun["runId"])
        self.upstream.release(self.marker)
        whole = self.ask("two", "QUEUE", to=self.talk, key="k", wait=True)
        self.assertEqual((whole["runId"], whole["message"]["status"]), (begun["runId"], "complete"))

    def test_a_subscription_waits(self) -> None:
        with self.socket(self.alice) as socket:
            variables = {"content": "two", "to": self.talk, "busy": "QUEUE"}
            socket.say(id="1", type="subscribe", payload={"query": ANSWER, "variables": variables})
            started = socket.read()["payload"]["data"]["answer"]
            self.assertEqual(Run.objects.get(pk=started["runId"]).state, "queued")
            self.upstream.release(self.marker)
            while (event := socket.read()["payload"]["data"]["answer"])["__typename"] != "AnswerComplete":
                self.assertEqual(event["__typename"], "AnswerChunk")

    def test_it_stops_what_is_written(self) -> None:
        answer = self.ask("Rather this", "INTERRUPT", to=self.talk, wait=True)
        self.assertEqual(answer["message"]["status"], "complete")
        self.assertEqual(Run.objects.get(pk=self.first["runId"]).state, "cancelled")
        self.assertTrue(Message.objects.get(pk=self.first["message"]["id"]).content)

    def test_one_that_waits_is_stopped_and_the_answer_goes_on(self) -> None:
        waiting = self.ask("two", "QUEUE", to=self.talk)["runId"]
        stop = "mutation ($id: ID!) { stopRun(runId: $id) { state } }"
        self.assertEqual(self.code(stop, by=self.bob, id=waiting), "not_found")
        self.assertEqual(self.data(stop, id=waiting)["stopRun"], {"state": "cancelled"})
        self.assertEqual(Run.objects.get(pk=self.first["runId"]).state, "running")

    def test_what_is_refused(self) -> None:
        self.assertEqual(self.code(SEND, **self.variables("x", "REJECT", to=self.talk)), "conversation_busy")
        self.assertEqual(self.code(SEND, by=self.bob, **self.variables("x", "QUEUE", to=self.talk)), "not_found")
        for wrong in ("queue", "WAIT", ""):
            code = self.code(SEND, status=400, **self.variables("x", wrong, to=self.talk))
            self.assertEqual(code, "graphql_validation_failed")
        for number in range(10):
            self.ask(f"number {number}", "QUEUE", to=self.talk)
        self.assertEqual(self.code(SEND, **self.variables("x", "QUEUE", to=self.talk)), "queue_full")
        delete = "mutation ($id: ID!) { deleteConversation(id: $id) }"
        self.data(delete, id=self.talk)
        self.assertFalse(Run.objects.filter(conversation=self.talk).exists())
