"""One history for all APIs: their answers are responses that can be continued, and responses are turns there."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

from chatservice.dialects.openai_v1.tests.responses_case import PATH, ResponsesTestCase, said
from chatservice.testing import needs_dialect, wait_until
from chatservice.testing.sockets import Socket
from completions.models import Run
from completions.tests.upstream_wire import TEXT
from conversations.models import Message

SEND = """
    mutation($content: String!) { sendMessage(content: $content, model: "fake/ok") { runId conversation { id } } }
"""


class ElsewhereTest(ResponsesTestCase):
    def by_chat_completions(self, **fields: Any) -> str:
        body = {"model": "fake/ok", "messages": [{"role": "user", "content": "From elsewhere"}], **fields}
        return self.alice.http.post("/v1/chat/completions", json=body).headers["x-run-id"]

    def by_rest(self) -> str:
        needs_dialect("chat_v1")
        body = {"content": "From elsewhere", "model": "fake/ok"}
        return self.alice.http.post("/v1/chat/conversations/stream", json=body).headers["x-run-id"]

    def by_graphql(self) -> str:
        needs_dialect("graphql")
        call = {"query": SEND, "variables": {"content": "From elsewhere"}}
        run_id: str = self.alice.http.post("/graphql", json=call).json()["data"]["sendMessage"]["runId"]
        return run_id

    def by_websocket(self) -> str:
        needs_dialect("websocket")
        with Socket(self.service.websocket_url, additional_headers=self.alice.headers) as socket:
            run_id: str = socket.ask("From elsewhere", model="fake/ok")[-1]["run_id"]
            return run_id

    def by_the_page(self) -> str:
        needs_dialect("chat")
        path = self.page_conversation()
        self.alice.http.post(f"{path}/message", json={"content": "From elsewhere"})
        self.alice.http.get(f"{path}/stream", params={"model": "fake/ok"})
        return str(Run.objects.get(conversation_id=path.rpartition("/")[2]).pk)

    def page_conversation(self) -> str:
        """Return the address of a new conversation of the page."""
        return f"/chat/conversation/{self.alice.http.get('/chat/conversation').json()['id']}"

    def completed(self, response_id: str) -> dict[str, Any]:
        def now() -> dict[str, Any] | None:
            response: dict[str, Any] = self.get(response_id)
            return response if response["status"] == "completed" else None

        found = wait_until(now, what="the answer")
        assert found is not None
        return found

    def test_an_answer_of_any_api_is_a_response_and_can_be_continued(self):
        asked = (self.by_chat_completions, self.by_rest, self.by_graphql, self.by_websocket, self.by_the_page)
        for ask in (*asked, lambda: self.by_chat_completions(stream=True)):
            with self.subTest(ask):
                run_id = uuid.UUID(ask())
                response_id = f"resp_{run_id.hex}"
                response = self.completed(response_id)
                run = Run.objects.get(pk=run_id)
                assert run.message_id is not None
                self.assertEqual(
                    (response["status"], said(response), response["model"]), ("completed", TEXT, "fake/ok")
                )
                self.assertEqual(response["output"][0]["id"], f"msg_{run.message_id.hex}")
                [question] = self.input_items(response_id)
                self.assertEqual((question["role"], question["content"][0]["text"]), ("user", "From elsewhere"))
                stream = self.alice.http.get(f"{PATH}/{response_id}", params={"stream": "true"})
                self.assertIn("response.completed", stream.text)
                again = self.ask("Go on", previous_response_id=response_id)
                self.assertEqual([each["content"] for each in self.sent["messages"]], ["From elsewhere", TEXT, "Go on"])
                self.assertEqual(self.run_of(again).conversation_id, run.conversation_id)
                self.assertEqual([item["content"][0]["text"] for item in self.input_items(again["id"])], ["Go on"])
                self.assertEqual(self.bob.http.get(f"{PATH}/{response_id}").status_code, 404)
                cancelled = self.alice.http.post(f"{PATH}/{response_id}/cancel")
                self.assertEqual(cancelled.status_code, 400)

    def test_an_answer_with_calls_reads_alike_before_and_after_its_chunks_are_gone(self):
        for behaviour in ("body:calls-at-once", "tools", "reasoning", "refusal", "n2", "legacy-call"):
            for stream in (True, False):
                model = "fake/body:legacy-call" if behaviour == "legacy-call" else f"fake/{behaviour}"
                run_id = uuid.UUID(self.by_chat_completions(model=model, stream=stream))
                before = self.get(f"resp_{run_id.hex}")
                Run.objects.get(pk=run_id).chunks.all().delete()
                after = self.get(f"resp_{run_id.hex}")
                self.assertEqual(after["output"], before["output"], behaviour)
                self.assertTrue(before["output"], behaviour)

    def test_a_response_goes_into_a_conversation_of_the_other_apis(self):
        needs_dialect("chat", "chat_v1")
        path = self.page_conversation()
        made = uuid.UUID(path.rpartition("/")[2])
        named = f"conv_{made.hex}"
        first = self.ask("A zebra question", conversation=named)
        second = self.ask("And?", conversation={"id": named}, instructions="Be brief")
        self.assertEqual(first["conversation"], {"id": named})
        self.assertEqual(
            [each["content"] for each in self.sent["messages"]], ["Be brief", "A zebra question", TEXT, "And?"]
        )
        self.assertEqual(self.get(second["id"]), second)
        self.assertEqual(len(self.input_items(second["id"])), 1)
        seen = self.alice.http.get(f"{path}/messages").json()
        self.assertEqual([each["content"] for each in seen], ["A zebra question", TEXT, "And?", TEXT])
        # What is not stored sees the conversation, and leaves nothing in it.
        self.ask("Secretly", conversation=named, store=False)
        self.assertEqual([each["content"] for each in self.sent["messages"]][-3:], ["And?", TEXT, "Secretly"])
        self.assertEqual(Message.objects.of(made).count(), 4)
        wait_until(
            lambda: str(made) in self.alice.http.get("/v1/chat/search", params={"q": "zebra"}).text, what="the hit"
        )
        self.assertEqual(self.ask("x", by=self.bob, conversation=named, status=404)["error"]["code"], "not_found")
        for other in (str(made), f"conv_{made}", made.hex, named.upper(), f"{named}\n", f"{named}0"):
            self.assertEqual(self.ask("x", conversation=other, status=404)["error"]["param"], "conversation")
            self.assertEqual(self.alice.http.get(f"/v1/conversations/{quote(other)}").status_code, 404)

    def test_a_conversation_takes_one_answer_at_a_time_and_a_response_that_is_not_finished_none(self):
        body = {"model": "fake/held", "input": "hold this conversation", "background": True}
        held = self.alice.http.post(PATH, json=body).json()
        run = self.run_of(held)
        assert run.conversation_id is not None
        error = self.ask("x", conversation=f"conv_{run.conversation_id.hex}", status=409)["error"]
        self.assertEqual(error["code"], "conversation_busy")
        error = self.ask("x", previous_response_id=held["id"], status=409)["error"]
        self.assertEqual((error["code"], error["param"]), ("conversation_busy", "previous_response_id"))
        self.upstream.release("hold this conversation")
        self.completed(held["id"])
        self.ask("x", previous_response_id=held["id"])

    def test_what_a_client_sent_in_another_structure_is_shown_all_the_same(self):
        odd: tuple[dict[str, Any], ...] = (
            {"role": "assistant", "content": "x", "tool_calls": 5},
            {"role": "assistant", "content": "x", "reasoning_details": 5, "annotations": "y", "response_items": 5},
            {"role": "assistant", "content": "x", "reasoning_details": [{"id": [], "text": {}}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": 5}, {"type": "text", "text": 5}]},
            {"role": "user", "content": [{"type": "file", "file": {"type": "x"}}, {"type": "video_url", "a": 1}]},
            {"role": "robot", "content": [], "name": {"a": 1}},
            {"role": "tool", "content": None, "tool_call_id": 5},
        )
        for message in odd:
            run_id = self.by_chat_completions(messages=[message, {"role": "user", "content": "Hi"}])
            answer = self.alice.http.get(f"{PATH}/resp_{uuid.UUID(run_id).hex}/input_items")
            self.assertEqual(answer.status_code, 200, message)
            self.assertTrue(answer.json()["data"], message)
