"""Conversations: what can be changed, what is listed, and what it costs."""

from __future__ import annotations

import json
from pathlib import Path

from django.db import connection
from django.test import RequestFactory, TestCase
from django.test.utils import CaptureQueriesContext

from accounts.callers import Principal
from accounts.principal import clear_cache
from accounts.services import issue_api_key, register_user
from chatservice.dialects.chat_v1.pagination import PageRequest
from chatservice.dialects.chat_v1.urls import CONVERSATION, CONVERSATIONS, MESSAGE
from chatservice.dialects.chat_v1.views import _page
from chatservice.testing import ServiceTestCase
from conversations.models import Conversation, Message
from conversations.services import append_message, start_conversation

BASE = "/v1/chat/conversations"
BASELINE = Path(__file__).with_name("query_counts.json")


class ConversationsTest(ServiceTestCase):
    def create(self, **body) -> str:
        return self.alice.http.post(BASE, json=body).json()["data"]["id"]

    def test_title_metadata_and_archived_can_be_changed_and_nothing_else(self):
        pk = self.create()
        change = {"title": "Better", "metadata": {"a": [1]}, "archived": True, "user_id": str(self.bob.user.pk)}
        changed = self.alice.http.patch(f"{BASE}/{pk}", json=change).json()["data"]
        self.assertEqual((changed["title"], changed["metadata"], changed["archived"]), ("Better", {"a": [1]}, True))
        self.assertEqual(changed["user_id"], str(self.alice.user.pk))
        self.assertGreater(changed["updated_at"], changed["created_at"])
        self.assertEqual(self.alice.http.get(f"{BASE}/{pk}").json()["data"], changed)
        untouched = self.alice.http.patch(f"{BASE}/{pk}", json={"archived": False}).json()["data"]
        self.assertEqual((untouched["title"], untouched["archived"]), ("Better", False))

    def test_a_conversation_is_pinned_and_unpinned_by_its_owner_alone(self):
        pinned, other = self.create(title="pinned"), self.create(title="other")
        self.assertFalse(self.alice.http.get(f"{BASE}/{pinned}").json()["data"]["pinned"])
        self.assertEqual(self.bob.http.patch(f"{BASE}/{pinned}", json={"pinned": True}).status_code, 404)
        before = Conversation.objects.get(pk=pinned).updated_at
        for _ in range(2):
            changed = self.alice.http.patch(f"{BASE}/{pinned}", json={"pinned": True}).json()["data"]
            self.assertEqual((changed["pinned"], changed["archived"], changed["title"]), (True, False, "pinned"))
        self.assertEqual(Conversation.objects.get(pk=pinned).updated_at, before)
        for value, wanted in (("", {pinned, other}), ("true", {pinned}), ("false", {other})):
            listed = self.alice.http.get(BASE, params={"pinned": value} if value else {}).json()
            self.assertEqual({row["id"] for row in listed["data"]}, wanted)
        self.assertFalse(self.alice.http.patch(f"{BASE}/{pinned}", json={"pinned": False}).json()["data"]["pinned"])

    def test_what_is_archived_is_listed_when_asked_for(self):
        kept, archived = self.create(title="kept"), self.create(title="archived")
        self.alice.http.patch(f"{BASE}/{archived}", json={"archived": True})
        for value, wanted in (("", {kept}), ("true", {archived}), ("all", {kept, archived})):
            query = {"archived": value} if value else {}
            listed = self.alice.http.get(BASE, params=query).json()
            self.assertEqual({row["id"] for row in listed["data"]}, wanted)
            self.assertEqual(listed["meta"]["total"], len(wanted))

    def test_the_last_used_comes_first(self):
        first, second = self.create(title="first"), self.create(title="second")
        self.alice.http.post(f"{BASE}/{first}/messages", json={"content": "Again"})
        self.assertEqual([row["id"] for row in self.alice.http.get(BASE).json()["data"]], [first, second])

    def test_no_title_is_an_empty_title(self):
        for body in ({}, {"title": None}, {"title": ""}):
            self.assertEqual(self.alice.http.post(BASE, json=body).json()["data"]["title"], "")
        self.assertEqual(self.alice.http.post(BASE).status_code, 201)

    def test_an_unknown_route_and_method_answer_in_the_envelope(self):
        for method, path, status in (("GET", "/v1/chat/nothing", 404), ("PUT", BASE, 405), ("DELETE", BASE, 405)):
            response = self.alice.http.request(method, path)
            self.assertEqual((response.status_code, response.json()["success"]), (status, False))


class CostTest(TestCase):
    """Statements per request do not depend on the amount of data."""

    def counts(self, size: int) -> dict[str, int]:
        user = register_user(username=f"alice-{size}")
        _, secret = issue_api_key(user=user)
        conversations = [start_conversation(owner_id=user.pk, title=f"Talk {n}") for n in range(size)]
        for n in range(size):
            append_message(conversation=conversations[0], role="user", content=f"Message {n}")
        conversation = Conversation.objects.get(pk=conversations[0].pk)
        message = Message.objects.of(conversation.pk).latest("id")
        request = RequestFactory().get("/", headers={"Authorization": f"Bearer {secret}"})
        views = {
            "list conversations": lambda: CONVERSATIONS(request),
            "get conversation": lambda: CONVERSATION(request, pk=str(conversation.pk)),
            "get message": lambda: MESSAGE(request, pk=str(message.pk)),
        }
        found = {}
        for name, view in views.items():
            clear_cache()
            view()  # the first use of a key is written to the database
            clear_cache()
            with CaptureQueriesContext(connection) as queries:
                self.assertEqual(view().status_code, 200)
            found[name] = len(queries)
        with CaptureQueriesContext(connection) as queries:
            _page(Principal(user.pk, user.username), conversation.pk, PageRequest(1, 100))
        return {**found, "list messages": len(queries)}

    def test_statements_are_as_many_as_written_down_however_much_there_is(self):
        wanted = json.loads(BASELINE.read_text())
        self.assertEqual(self.counts(1), wanted)
        self.assertEqual(self.counts(30), wanted)
