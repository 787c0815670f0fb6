"""The test case of the index: Alice, Bob and a guest, and their messages."""

from __future__ import annotations

import uuid

from django.db import connection
from django.test import TestCase

from accounts.callers import Principal
from accounts.models import User
from accounts.services import guest_user, register_user
from conversations.models import Conversation, Message
from conversations.services import append_message, start_conversation
from search import indexing
from search.backends import sqlite_schema
from search.embedders import loading
from search.queries import Hits, search_messages
from search.tables import TABLES


class SearchTestCase(TestCase):
    def setUp(self) -> None:
        loading.forget()
        loading.current()
        self.alice, self.bob = self.make("alice"), self.make("bob")
        self.guest = Principal(user_id=guest_user().pk, username="guest", is_guest=True)

    def make(self, name: str) -> Principal:
        user = register_user(username=name)
        return Principal(user_id=user.pk, username=name)

    def user(self, who: Principal) -> User:
        return User.objects.get(pk=who.user_id)

    def talk(self, who: Principal, *contents: str, title: str = "") -> tuple[Conversation, list[Message]]:
        """Store a conversation in which questions and answers alternate."""
        conversation = start_conversation(owner_id=who.user_id, title=title)
        roles = ("user", "assistant")
        messages = [
            append_message(conversation=conversation, role=roles[at % 2], content=content)
            for at, content in enumerate(contents)
        ]
        return conversation, messages

    def say(self, who: Principal, content: str) -> Message:
        return self.talk(who, content)[1][0]

    def index(self) -> None:
        """Index everything that is pending."""
        while indexing.index_text():
            pass
        while indexing.index_semantic(loading.current()):
            pass

    def found(self, who: Principal, query: str, **how) -> list[str]:
        return [hit.message.content for hit in search_messages(who, query, **how).hits]


def drop_triggers() -> None:
    """On SQLite only: drop the triggers, as a tool that copies tables may do."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for name in sqlite_schema.triggers(TABLES):
                cursor.execute(f"DROP TRIGGER {name}")


def as_values(hits: Hits) -> list[tuple[uuid.UUID, float, float | None, float | None]]:
    """Return every part of an answer that could reveal something of others: hits, order, scores."""
    return [(hit.message.pk, hit.score, hit.text_score, hit.semantic_score) for hit in hits.hits]
