"""The cost of triggers on PostgreSQL: a session keeps the plans it made while the tables were small."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from unittest import skipUnless

from django.db import connection
from django.test import TestCase

from accounts.models import User
from accounts.services import register_user
from conversations.models import Conversation, Message, MessagePart

# The tables in which triggers look something up, each with the same number of rows.
TABLES = (
    *("conversations_conversation", "conversations_message", "conversations_messagepart"),
    *("search_pendingmessage", "search_entry"),
)
FEW, MANY = 1_000, 5_000
LONG = 300  # messages of a conversation


def part_of(message: Message) -> MessagePart:
    return MessagePart(message=message, position=0, kind="text", text="Hello")


@skipUnless(connection.vendor == "postgresql", "SQLite plans each statement anew")
class KeptPlansTest(TestCase):
    def setUp(self) -> None:
        self.owner: User = register_user(username=f"alice-{uuid.uuid4().hex[:12]}")

    def talk(self) -> Conversation:
        return Conversation(owner=self.owner, title="Talk")

    def write(self, messages: int) -> None:
        """Insert, change and delete messages with a part each; each step is one statement per table."""
        talks = Conversation.objects.bulk_create([self.talk() for _ in range(messages)])
        rows = [Message(conversation=talk, position=1, role="user", content="Hello") for talk in talks]
        ids = [row.pk for row in Message.objects.bulk_create(rows)]
        Message.objects.filter(pk__in=ids).update(content="Hello again")
        MessagePart.objects.bulk_create([part_of(row) for row in rows])
        MessagePart.objects.filter(message__in=ids).update(text="Hello again")
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM conversations_messagepart WHERE message_id = ANY(%s)", [ids])
            cursor.execute("DELETE FROM conversations_message WHERE id = ANY(%s)", [ids])

    def chain(self) -> list[Message]:
        """Store a long conversation, each message a reply to the one before."""
        talk = Conversation.objects.create(owner=self.owner, title="Talk")
        rows = [Message(conversation=talk, position=at, role="user", content="Hello") for at in range(1, LONG + 1)]
        for above, below in itertools.pairwise(rows):
            below.parent_id = above.pk
        return Message.objects.bulk_create(rows)

    def read_by(self, change: Callable[[], object], counted: str = "seq_tup_read") -> dict[str, int]:
        """Return how many rows of each table `change` reads; `counted` are columns of pg_stat_xact_user_tables."""
        before = self.rows_read(counted)
        change()
        return {table: rows - before[table] for table, rows in self.rows_read(counted).items()}

    def rows_read(self, counted: str) -> dict[str, int]:
        """Return how many rows of each table have been read in this transaction."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT relname, {counted} FROM pg_stat_xact_user_tables WHERE relname = ANY(%s)", [list(TABLES)]
            )
            return dict(cursor.fetchall())

    def test_no_trigger_reads_a_whole_table_that_has_grown_since_its_plan_was_made(self) -> None:
        Conversation.objects.bulk_create([self.talk() for _ in range(FEW)])
        for _ in range(10):  # after five executions a plan is kept for good
            self.write(100)
        talks = Conversation.objects.bulk_create([self.talk() for _ in range(MANY)])
        rows = [Message(conversation=talk, position=1, role="user", content="Hello") for talk in talks]
        MessagePart.objects.bulk_create([part_of(row) for row in Message.objects.bulk_create(rows)])
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan TO off")  # for this test's own statements
        read = self.read_by(lambda: self.write(1))
        self.assertLess(sum(read.values()), FEW, read)

    def test_none_reads_all_messages_for_each_of_them_where_the_table_was_analysed_while_it_was_empty(self) -> None:
        for _ in range(3):
            self.chain()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE conversations_conversation SET head_id = NULL")
            cursor.execute("DELETE FROM conversations_message")
            cursor.execute("ANALYZE conversations_message")
        rows = self.chain()
        changes = {
            "content": lambda: Message.objects.filter(pk=rows[LONG // 2].pk).update(content="Changed"),
            "parent": lambda: Message.objects.filter(pk=rows[LONG // 2].pk).update(parent_id=rows[0].pk),
            "title": lambda: Conversation.objects.filter(pk=rows[0].conversation_id).update(title="Changed"),
            "gone": lambda: Message.objects.filter(pk=rows[-1].pk)._raw_delete("default"),
        }
        for name, change in changes.items():
            with self.subTest(name):
                read = self.read_by(change, "coalesce(idx_tup_fetch, 0) + coalesce(seq_tup_read, 0)")
                self.assertLess(sum(read.values()), 20 * LONG, read)
