"""Every request in the v1 document works as printed, and gets the answer that the document describes."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.utils.dateparse import parse_datetime

from chatservice.testing import ServiceTestCase, sse_data, sse_events, tried_once

BASE = "/v1/chat"
QUESTION = {
    "content": "Hello, how are you?",
    "role": "user",
    "model": "openai/gpt-3.5-turbo",
    "temperature": 0.7,
}
BEGINNING = {
    "title": "Optional Title",
    "content": "First message content",
    "model": "openai/gpt-3.5-turbo",
    "temperature": 0.7,
}
CONVERSATION = {"id", "title", "user_id", "created_at", "updated_at"}
MESSAGE = {
    *("id", "conversation_id", "parent_id", "role", "content", "files", "model"),
    *("status", "finish_reason", "usage", "created_at"),
}


@tried_once
class DocumentedTest(ServiceTestCase):
    def created(self) -> str:
        return self.alice.http.post(f"{BASE}/conversations", json={"title": "My New Chat"}).json()["data"]["id"]

    def assert_timestamp(self, text: str) -> None:
        self.assertTrue(text.endswith("Z") and "T" in text, text)
        self.assertIsNotNone(parse_datetime(text))

    def assert_conversation(self, data: dict[str, Any], title: str) -> None:
        self.assertLessEqual(CONVERSATION, set(data))
        self.assertEqual(data["title"], title)
        self.assertEqual(uuid.UUID(data["user_id"]), self.alice.user.pk)
        uuid.UUID(data["id"])
        self.assert_timestamp(data["created_at"])
        self.assert_timestamp(data["updated_at"])

    def assert_message(self, data: dict[str, Any], role: str, conversation: str) -> None:
        self.assertEqual(set(data), MESSAGE)
        self.assertEqual((data["role"], data["conversation_id"], data["status"]), (role, conversation, "complete"))
        uuid.UUID(data["id"])
        self.assert_timestamp(data["created_at"])

    def test_create_conversation(self):
        response = self.alice.http.post(f"{BASE}/conversations", json={"title": "My New Chat"})
        body = response.json()
        self.assertEqual(response.status_code, 201)
        self.assertEqual(set(body), {"success", "data", "message"})
        self.assertEqual((body["success"], body["message"]), (True, "Conversation created successfully"))
        self.assertEqual(set(body["data"]), CONVERSATION)
        self.assert_conversation(body["data"], "My New Chat")

    def test_list_conversations(self):
        for _ in range(10):
            self.created()
        response = self.alice.http.get(f"{BASE}/conversations", params={"page": 1, "limit": 10})
        body = response.json()
        self.assertEqual(response.status_code, 200)
        self.assertEqual(set(body), {"success", "data", "meta"})
        self.assertIs(body["success"], True)
        self.assertEqual(body["meta"], {"total": 10, "page": 1, "limit": 10, "totalPages": 1})
        self.assertEqual(len(body["data"]), 10)
        for conversation in body["data"]:
            self.assertEqual(set(conversation), CONVERSATION)
            self.assert_conversation(conversation, "My New Chat")
        self.assertEqual(self.alice.http.get(f"{BASE}/conversations").json(), body)

    def test_get_conversation(self):
        pk = self.created()
        response = self.alice.http.get(f"{BASE}/conversations/{pk}")
        self.assertEqual((response.status_code, response.json()["success"]), (200, True))
        self.assertEqual(response.json()["data"]["id"], pk)
        self.assert_conversation(response.json()["data"], "My New Chat")

    def test_delete_conversation(self):
        pk = self.created()
        _, answer = self.alice.http.post(f"{BASE}/conversations/{pk}/messages", json=QUESTION).json()["data"]
        response = self.alice.http.delete(f"{BASE}/conversations/{pk}")
        self.assertEqual((response.status_code, response.json()["success"]), (200, True))
        for gone in (f"conversations/{pk}", f"conversations/{pk}/messages", f"messages/{answer['id']}"):
            self.assertEqual(self.alice.http.get(f"{BASE}/{gone}").status_code, 404)

    def test_create_message_and_wait(self):
        pk = self.created()
        response = self.alice.http.post(f"{BASE}/conversations/{pk}/messages", json=QUESTION)
        self.assertEqual((response.status_code, response.json()["success"]), (201, True))
        question, answer = response.json()["data"]
        self.assert_message(question, "user", pk)
        self.assert_message(answer, "assistant", pk)
        self.assertEqual(question["content"], "Hello, how are you?")
        self.assertIn("Hello, how are you?", answer["content"])
        self.assertEqual(answer["parent_id"], question["id"])

    def test_create_message_streaming(self):
        pk = self.created()
        response = self.alice.http.post(f"{BASE}/conversations/{pk}/messages/stream", json=QUESTION)
        self.assertEqual(response.status_code, 200)
        self.assertTrue(response.headers["content-type"].startswith("text/event-stream"))
        *lines, last = sse_data(response.text)
        self.assertEqual(last, "[DONE]")
        events = [json.loads(line) for line in lines]
        self.assertEqual([set(event) for event in events], [{"type", "data"}] * len(events))
        types = [event["type"] for event in events]
        self.assertEqual(types, ["user_message", *["ai_chunk"] * (len(events) - 2), "ai_complete"])
        self.assertGreater(len(types), 2)
        question, answer = events[0]["data"], events[-1]["data"]
        self.assert_message(question, "user", pk)
        self.assert_message(answer, "assistant", pk)
        self.assertEqual("".join(event["data"] for event in events[1:-1]), answer["content"])
        listed = self.alice.http.get(f"{BASE}/conversations/{pk}/messages").json()["data"]
        self.assertEqual(listed, [question, answer])
        self.assertNotIn("event", {name for event in sse_events(response.text) for name in event})

    def test_an_error_occurs_during_streaming(self):
        pk = self.created()
        body = {**QUESTION, "model": "fake/truncated"}
        response = self.alice.http.post(f"{BASE}/conversations/{pk}/messages/stream", json=body)
        *lines, last = sse_data(response.text)
        events = [json.loads(line) for line in lines]
        first, *middle, end = [event["type"] for event in events]
        self.assertEqual((first, set(middle), end), ("user_message", {"ai_chunk"}, "error"))
        self.assertEqual(set(events[-1]["data"]), {"code", "message"})
        self.assertEqual((events[-1]["data"]["code"], last), ("upstream_truncated", "[DONE]"))

    def test_start_conversation_with_stream(self):
        response = self.alice.http.post(f"{BASE}/conversations/stream", json=BEGINNING)
        self.assertEqual(response.status_code, 200)
        *lines, last = sse_data(response.text)
        self.assertEqual(last, "[DONE]")
        events = [json.loads(line) for line in lines]
        types = [event["type"] for event in events]
        self.assertEqual(types, ["conversation_created", *["ai_chunk"] * (len(events) - 2), "ai_complete"])
        created = events[0]["data"]
        self.assertEqual(set(created), {"conversationId", "userMessage"})
        pk = created["conversationId"]
        self.assert_message(created["userMessage"], "user", pk)
        self.assertEqual(created["userMessage"]["content"], "First message content")
        self.assert_message(events[-1]["data"], "assistant", pk)
        self.assertEqual("".join(event["data"] for event in events[1:-1]), events[-1]["data"]["content"])
        conversation = self.alice.http.get(f"{BASE}/conversations/{pk}").json()["data"]
        self.assert_conversation(conversation, "Optional Title")

    def test_list_messages(self):
        pk = self.created()
        said = [
            message
            for _ in range(2)
            for message in self.alice.http.post(f"{BASE}/conversations/{pk}/messages", json=QUESTION).json()["data"]
        ]
        response = self.alice.http.get(f"{BASE}/conversations/{pk}/messages")
        self.assertEqual((response.status_code, response.json()["success"]), (200, True))
        self.assertEqual(response.json()["data"], said)
        self.assertEqual(response.json()["meta"], {"total": 4, "page": 1, "limit": 100, "totalPages": 1})

    def test_get_message(self):
        pk = self.created()
        for message in self.alice.http.post(f"{BASE}/conversations/{pk}/messages", json=QUESTION).json()["data"]:
            response = self.alice.http.get(f"{BASE}/messages/{message['id']}")
            self.assertEqual((response.status_code, response.json()["success"]), (200, True))
            self.assertEqual(response.json()["data"], message)

    def test_delete_message(self):
        pk = self.created()
        question, answer = self.alice.http.post(f"{BASE}/conversations/{pk}/messages", json=QUESTION).json()["data"]
        response = self.alice.http.delete(f"{BASE}/messages/{answer['id']}")
        self.assertEqual((response.status_code, response.json()["success"]), (200, True))
        self.assertEqual(self.alice.http.get(f"{BASE}/messages/{answer['id']}").status_code, 404)
        self.assertEqual(self.alice.http.get(f"{BASE}/conversations/{pk}/messages").json()["data"], [question])

    def test_every_route_answers_with_a_slash_too(self):
        pk = self.created()
        self.assertEqual(self.alice.http.get(f"{BASE}/conversations/").status_code, 200)
        self.assertEqual(self.alice.http.post(f"{BASE}/conversations/", json={}).status_code, 201)
        self.assertEqual(self.alice.http.post(f"{BASE}/conversations/{pk}/messages/", json=QUESTION).status_code, 201)
