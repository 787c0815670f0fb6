"""The index's columns, indexes and triggers survive any migration of their tables."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from django.db import connection, models
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from accounts.callers import Principal
from accounts.services import delete_user, register_user
from chatservice.testing import KeptTablesTestCase, stop_shared_service
from conversations.models import Conversation, Message
from conversations.services import append_message, start_conversation
from search import indexing
from search.embedders import loading
from search.models import Entry, IndexPartition, Passage, PendingMessage
from search.queries import Mode, search_messages

ALTERED = (
    *((IndexPartition, "next_seq"), (Entry, "length"), (Passage, "start"), (PendingMessage, "version")),
    *((Message, "author"), (Conversation, "end_user")),
)


class AlteredTablesTest(KeptTablesTestCase):
    def setUp(self) -> None:
        stop_shared_service()  # it would wait for the tables, and its indexer would do a part of the work
        loading.forget()
        user = register_user(username=f"alice-{uuid.uuid4().hex[:12]}")
        self.addCleanup(delete_user, user=user)
        self.alice = Principal(user_id=user.pk, username=user.username)
        conversation = start_conversation(owner_id=user.pk)
        self.message = append_message(conversation=conversation, role="user", content="a white whale")
        self.index()

    def index(self) -> None:
        while indexing.index_text() or indexing.index_semantic(loading.current()):
            pass

    def alter(self, model: type[models.Model], name: str) -> Iterator[str]:
        """Make a column nullable, and undo it again."""
        field: Any = model._meta.get_field(name)
        altered = field.clone()
        altered.null = True
        altered.set_attributes_from_name(name)
        altered.model = model
        for old, new in ((field, altered), (altered, field)):
            with connection.schema_editor() as editor:
                editor.alter_field(model, old, new)
            yield f"{model.__name__}.{name} {'null' if new.null else 'not null'}"

    def schema(self) -> set[tuple[str, ...]]:
        """Return the names of all indexes and triggers with their tables."""
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("SELECT type, tbl_name, name FROM sqlite_master")
            else:
                cursor.execute(
                    "SELECT 'index', tablename, indexname FROM pg_indexes UNION "
                    "SELECT 'trigger', tgrelid::regclass::text, tgname FROM pg_trigger"
                )
            return set(cursor.fetchall())

    def found(self, query: str) -> list[list[str]]:
        return [[hit.message.content for hit in search_messages(self.alice, query, mode=mode).hits] for mode in Mode]

    def test_an_altered_table_leaves_the_index_whole(self):
        schema = self.schema()
        for model, name in ALTERED:
            for what in self.alter(model, name):
                with self.subTest(what):
                    self.assertEqual(self.schema(), schema)
                    self.assertEqual(self.found("white whale"), [["a white whale"]] * 3)
                    self.assertEqual(PendingMessage.objects.filter(owner_id=self.alice.user_id).count(), 0)
        Message.objects.filter(pk=self.message.pk).update(content="a lighthouse")
        self.index()
        self.assertEqual(self.found("lighthouse"), [["a lighthouse"]] * 3)
        Message.objects.filter(pk=self.message.pk).delete()
        self.assertEqual(self.found("lighthouse"), [[]] * 3)
        self.assertFalse(Entry.objects.filter(message_id=self.message.pk).exists())


class VectorsTest(TestCase):
    def test_queries_of_passages_leave_the_vectors_out(self):
        with CaptureQueriesContext(connection) as asked:
            list(Passage.objects.all())
        [query] = asked.captured_queries
        self.assertIn("entry_id", query["sql"])
        self.assertNotIn('"vector"', query["sql"])
