"""At its quota an account gets an error in each API's shape that names the setting; a stateless call is not stored."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2

from chatservice.testing import ApiUser, Service, ServiceTestCase, make_api_user, needs_dialect, running_service
from chatservice.testing.sockets import Socket
from completions.models import Run
from completions.tests.streaming import URL, body_of
from conversations.models import Conversation, Message
from conversations.services import append_message, start_conversation

SETTING = "LIMIT_MESSAGES_PER_USER"
LIMITS = {SETTING: "6", "LIMIT_NEW_MESSAGES_PER_REQUEST": "40", "LIMIT_ROWS_PER_MINUTE": "60"}
NOT_STORED = "x-not-stored"


def setUpModule() -> None:
    needs_dialect("openai_v1", "chat_v1", "resources", "chat", "graphql", "websocket")


class StorageLimitTest(ServiceTestCase):
    limited: Service

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.limited = cls.enterClassContext(running_service(**LIMITS))

    def setUp(self) -> None:
        super().setUp()
        self.dora = make_api_user("dora", url=self.limited.url)
        self.addCleanup(self.dora.http.close)

    def fill(self, api_user: ApiUser) -> Conversation:
        """Fill an account up to its limit of messages."""
        talk = start_conversation(owner_id=api_user.user.pk, title="Full")
        for number in range(6):
            role = "user" if number % 2 == 0 else "assistant"
            append_message(conversation=talk, role=role, content=f"message {number}")
        return talk

    def stored(self) -> int:
        return Message.objects.filter(conversation__owner=self.dora.user).count()

    def test_a_stateless_call_is_answered_and_not_kept_and_says_so(self):
        for streamed in (False, True):
            self.assertNotIn(NOT_STORED, self.dora.http.post(URL, json=body_of("echo", stream=streamed)).headers)
        Message.objects.filter(conversation__owner=self.dora.user).delete()
        self.fill(self.dora)
        for streamed in (False, True):
            with self.subTest(streamed=streamed):
                answer = self.dora.http.post(URL, json=body_of("echo", "Are you there?", stream=streamed))
                self.assertEqual((answer.status_code, answer.headers[NOT_STORED]), (200, "quota"))
                self.assertIn("Are you there?" if not streamed else "[DONE]", answer.text)
                self.assertNotIn("x-conversation-id", answer.headers)
                run = Run.objects.get(pk=uuid.UUID(answer.headers["x-run-id"]))
                self.assertEqual((run.message_id, run.parameters, run.state), (None, {}, "complete"))
        self.assertEqual(self.stored(), 6)
        # If a request does not fit completely, none of it is stored; a long history is no exception.
        Message.objects.filter(conversation__owner=self.dora.user, position=6).delete()
        for count in (3, 35):
            said = [{"role": "user", "content": f"{number}"} for number in range(count)]
            answer = self.dora.http.post(URL, json={"model": "echo", "messages": said})
            self.assertEqual((answer.status_code, answer.headers[NOT_STORED]), (200, "quota"))
        self.assertEqual(self.stored(), 5)

    def test_a_stored_conversations_writes_are_refused_in_each_apis_words(self):
        talk = self.fill(self.dora)
        leaf, answer = Message.objects.of(talk.pk).filter(position__gte=5).oldest_first()
        v1, pk = "/v1/chat", str(talk.pk)
        mutation = 'mutation($c: ID!) { sendMessage(conversationId: $c, content: "Hi") { message { id } } }'
        edit = f'mutation {{ editMessage(id: "{leaf.pk}", content: "Hi") {{ id }} }}'
        calls: list[tuple[str, str, Any]] = [
            ("POST", f"{v1}/conversations/{pk}/messages", {"content": "Hi"}),
            ("POST", f"{v1}/conversations/{pk}/messages/stream", {"content": "Hi"}),
            ("POST", f"{v1}/conversations/stream", {"content": "Hi"}),
            ("POST", f"{v1}/messages/{answer.pk}/regenerate", {}),
            ("POST", f"/chat/conversation/{pk}/message", {"message": "Hi", "content": "Hi"}),
            ("POST", f"/conversations/{pk}/message", {"message": "Hi"}),
            ("POST", "/conversations/start", {"user_id": self.dora.user.username, "message": "Hi"}),
            ("POST", "/graphql", {"query": mutation, "variables": {"c": pk}}),
            ("POST", "/graphql", {"query": edit}),
        ]
        for method, path, body in calls:
            with self.subTest(path=path, body=body):
                said = self.dora.http.request(method, path, json=body)
                self.assert_says_storage_is_full(said, graphql=path == "/graphql")
        self.assertEqual(self.stored(), 6)
        # Reading and deleting still work, and deleting frees space.
        self.assertEqual(self.dora.http.get(f"{v1}/conversations/{pk}").status_code, 200)
        self.assertLess(self.dora.http.delete(f"{v1}/messages/{leaf.pk}").status_code, 300)
        self.assertLess(self.dora.http.delete(f"/chat/conversation/{pk}").status_code, 300)
        said = self.dora.http.post(f"{v1}/conversations/{pk}/messages", json={"content": "Hi"})
        self.assertEqual(said.status_code, 201, said.text)

    def assert_says_storage_is_full(self, answer: httpx2.Response, *, graphql: bool) -> None:
        self.assertIn(SETTING, answer.text)
        self.assertIn("storage_full", answer.text)
        if not graphql:
            self.assertEqual(answer.status_code, 403, answer.text)

    def test_the_websocket_says_it_too(self):
        self.fill(self.dora)
        with Socket(self.limited.websocket_url, additional_headers=self.dora.headers) as socket:
            socket.say(type="send", content="Hi")
            [*_, error] = socket.until("error")
        self.assertEqual(error["data"]["code"], "storage_full")
        self.assertIn(SETTING, error["data"]["message"])

    def test_the_owner_sees_how_much_is_held(self):
        self.fill(self.dora)
        data = self.dora.http.get("/v1/chat/me/storage").json()["data"]
        self.assertEqual((data["messages"], data["messages_limit"]), (6, 6))
        self.assertEqual((data["bytes"] > 50, data["bytes_limit"]), (True, 5_000_000_000))

    def test_too_many_new_messages_and_too_many_a_minute_in_openais_words(self):
        eve = make_api_user("eve", url=self.limited.url)
        self.addCleanup(eve.http.close)
        for name, value in (("more", 41), ("far more", 500)):
            with self.subTest(name):
                said = [{"role": "user", "content": f"{number}"} for number in range(value)]
                answer = eve.http.post(URL, json={"model": "echo", "messages": said})
                error = answer.json()["error"]
                self.assertEqual((answer.status_code, error["type"]), (400, "invalid_request_error"))
                self.assertEqual(error["param"], "messages")
                self.assertIn("40", error["message"])
                self.assertIn("LIMIT_NEW_MESSAGES_PER_REQUEST", error["message"])
        self.assertFalse(Conversation.objects.filter(owner=eve.user).exists())
