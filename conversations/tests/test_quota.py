"""The database counts an account's content, whoever writes it; an account at its quota cannot store more."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from unittest import mock

from django.core.management import call_command
from django.db import connection, transaction
from django.test import TestCase, override_settings

from accounts.models import User
from accounts.services import delete_user, register_user
from chatservice.testing import KeptTablesTestCase
from conversations import quota, quota_triggers, services
from conversations.apps import _after_migrations
from conversations.importers import parse
from conversations.imports import import_batch, in_batches
from conversations.models import Conversation, Message, MessagePart, StoredUsage
from conversations.quota import Held, held
from conversations.services import (
    DELETE_SLICE,
    StorageFull,
    append_message,
    delete_conversation,
    delete_message,
    edit_message,
    reset_conversation,
    start_conversation,
    update_conversation,
)
from conversations.tests.exports import chat, node, root

EMPTY = len(json.dumps({}))
"""What a conversation without a title takes: its metadata."""


class CountedTest(TestCase):
    def setUp(self) -> None:
        self.alice = register_user(username=f"alice-{uuid.uuid4().hex[:8]}")
        self.bob = register_user(username=f"bob-{uuid.uuid4().hex[:8]}")

    def talk(self, *said: str, owner: User | None = None) -> Conversation:
        talk = start_conversation(owner_id=(owner or self.alice).pk)
        for text in said:
            append_message(conversation=talk, role="user", content=text)
        return talk

    def bring_in(self, *names: str) -> list[str]:
        """Import conversations of two messages each; return the reasons for skipping some."""
        entries = [
            chat(name, root(), node(f"{name}1", "root"), node(f"{name}2", f"{name}1", role="assistant"))
            for name in names
        ]
        skipped = []
        for batch in in_batches(parse(entry) for entry in entries):
            skipped += import_batch(owner=self.alice, conversations=batch).skipped
        return [each.reason for each in skipped]

    def assert_holds(self, messages: int, size: int, owner: User | None = None) -> None:
        self.assertEqual(held((owner or self.alice).pk), Held(messages, size))
        self.assertEqual(list(quota.drifts()), [])

    def test_bytes_are_those_of_utf_8(self):
        self.talk("abc", "Zoë", "\U0001f600")
        self.assert_holds(3, EMPTY + 3 + 4 + 4)

    def test_every_way_to_write_is_counted(self):
        talk = self.talk("one", "two", "three")
        self.assert_holds(3, EMPTY + 11)
        second = Message.objects.of(talk.pk).get(position=2)
        edit_message(message=second, content="zwei")
        self.assert_holds(4, EMPTY + 15)
        delete_message(message=second)
        self.assert_holds(3, EMPTY + 12)
        append_message(conversation=talk, role="tool", content="", extras={"tool_call_id": "1"})
        parts = held(self.alice.pk).bytes - EMPTY - 12
        self.assertGreaterEqual(parts, len('{"tool_call_id":"1"}'))
        update_conversation(conversation=talk, title="Töpfe", metadata={"a": 1})
        self.assert_holds(4, EMPTY + 12 + parts + 6 + len(json.dumps({"a": 1})) - EMPTY)
        self.assertEqual(held(self.bob.pk), Held())
        reset_conversation(conversation=talk)
        self.assert_holds(0, 6 + len(json.dumps({"a": 1})))
        delete_conversation(conversation=talk)
        self.assert_holds(0, 0)

    def test_what_is_written_by_hand_is_counted(self):
        talk, other = self.talk("one", "two"), self.talk("x", owner=self.bob)
        Message.objects.of(talk.pk).update(content="longer")
        self.assert_holds(2, EMPTY + 12)
        Message.objects.of(talk.pk).filter(position=1).update(conversation=other, position=9)
        self.assert_holds(1, EMPTY + 6)
        self.assert_holds(2, EMPTY + 7, self.bob)
        Conversation.objects.filter(pk=other.pk).update(owner=self.alice, title="both at once")
        self.assert_holds(3, 2 * EMPTY + 13 + 12)
        self.assert_holds(0, 0, self.bob)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE conversations_conversation SET head_id = NULL")
            cursor.execute("DELETE FROM conversations_message WHERE content = 'longer'")
        self.assert_holds(1, 2 * EMPTY + 1 + 12)

    def test_what_a_conversation_keeps_for_its_answers_is_counted(self):
        talk = self.talk("one")
        for instructions in ("Zoë", "Be brief"):
            update_conversation(conversation=talk, generation={"instructions": instructions})
            kept = len(json.dumps({"instructions": instructions}, ensure_ascii=connection.vendor == "sqlite").encode())
            self.assert_holds(1, EMPTY + 3 + kept)
        Conversation.objects.filter(pk=talk.pk).update(owner=self.bob)
        self.assert_holds(0, 0)
        self.assert_holds(1, EMPTY + 3 + kept, self.bob)
        with override_settings(LIMIT_STORED_BYTES_PER_USER=10), self.assertRaises(StorageFull):
            talk.refresh_from_db()
            update_conversation(conversation=talk, generation={"instructions": "More"})
        update_conversation(conversation=talk, generation=None)
        self.assert_holds(1, EMPTY + 3, self.bob)
        start_conversation(owner_id=self.alice.pk, generation={"top_p": 1})
        delete_conversation(conversation=Conversation.objects.get(owner=self.alice))
        self.assert_holds(0, 0)

    def test_parts_are_counted_wherever_they_go(self):
        talk, other = self.talk("one"), self.talk("x", owner=self.bob)
        picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
        message = append_message(conversation=talk, role="user", content="", extras={"content": picture})
        size = held(self.alice.pk).bytes - EMPTY - 3
        self.assertGreaterEqual(size, len(json.dumps(picture[0])))
        MessagePart.objects.filter(message=message).update(text="Zoë")
        self.assert_holds(2, EMPTY + 3 + size + 4)
        Message.objects.filter(pk=message.pk).update(conversation=other, position=9)
        self.assert_holds(1, EMPTY + 3)
        self.assert_holds(2, EMPTY + 1 + size + 4, self.bob)
        Conversation.objects.filter(pk=other.pk).update(owner=self.alice)
        self.assert_holds(3, 2 * EMPTY + 3 + 1 + size + 4)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE conversations_conversation SET head_id = NULL")
            cursor.execute(
                "DELETE FROM conversations_message WHERE conversation_id IN ("
                "SELECT conversation_id FROM conversations_message WHERE position = 9)"
            )
            cursor.execute("DELETE FROM conversations_messagepart")
        self.assert_holds(1, 2 * EMPTY + 3)

    def test_what_outlives_its_conversation_within_a_transaction_is_taken_off_with_it(self):
        self.talk("one", "two")
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE conversations_conversation SET head_id = NULL")
            cursor.execute("DELETE FROM conversations_conversation")
            cursor.execute("DELETE FROM conversations_message")
        self.assert_holds(0, 0)

    def test_what_is_rolled_back_is_not_counted(self):
        self.talk("one")
        with transaction.atomic():
            self.talk("two")
            transaction.set_rollback(True)
        self.assert_holds(1, EMPTY + 3)

    def test_an_import_counts(self):
        self.assertEqual(self.bring_in("a"), [])
        self.assertEqual(held(self.alice.pk).messages, 2)
        self.assertEqual(list(quota.drifts()), [])

    def test_adding_up_changes_nothing(self):
        self.talk("one", "two", "three")
        before = held(self.alice.pk)
        quota.fold()
        self.assertEqual(held(self.alice.pk), before)
        self.assertLessEqual(StoredUsage.objects.filter(owner_id=self.alice.pk).count(), 1)

    def test_the_command_finds_and_corrects_a_difference(self):
        self.talk("one")
        StoredUsage.objects.filter(owner_id=self.alice.pk).update(messages=7)
        said, wrong = StringIO(), -6 if connection.vendor == "sqlite" else None
        call_command("recount_storage", "--dry-run", stdout=said)
        self.assertIn(str(self.alice.pk), said.getvalue())
        if wrong is not None:
            self.assertIn(f"{wrong} messages", said.getvalue())
        self.assertNotEqual(list(quota.drifts()), [])
        call_command("recount_storage", stdout=said)
        self.assert_holds(1, EMPTY + 3)
        self.assertIn("1 accounts corrected", said.getvalue())

    def test_without_their_table_nothing_is_in_the_way_and_with_it_all_is_counted_again(self):
        talk = self.talk("one")
        with mock.patch.object(connection.introspection, "table_names", list):
            _after_migrations(None, using="default")  # as after migrating back
        StoredUsage.objects.all().delete()
        append_message(conversation=talk, role="user", content="unseen")
        _after_migrations(None, using="default", plan=["forward"])
        self.assert_holds(2, EMPTY + 9)

    def test_what_was_there_before_the_counters_is_counted_after_migrations(self):
        talk = self.talk("one")
        with connection.cursor() as cursor:
            for name, (event, _) in quota_triggers._triggers(quota_triggers._columns).items():
                table = event.partition(" ON ")[2].split()[0]
                cursor.execute(f"DROP TRIGGER {name}" + (f" ON {table}" if connection.vendor == "postgresql" else ""))
        append_message(conversation=talk, role="user", content="unseen")
        StoredUsage.objects.all().delete()
        _after_migrations(None, using="default")
        self.assert_holds(2, EMPTY + 9)
        append_message(conversation=talk, role="user", content="seen")
        self.assert_holds(3, EMPTY + 13)

    @override_settings(LIMIT_MESSAGES_PER_USER=2)
    def test_messages_up_to_the_quota_and_no_more(self):
        talk = self.talk("one", "two")
        with self.assertRaisesRegex(StorageFull, "2 of at most 2 messages.*LIMIT_MESSAGES_PER_USER"):
            append_message(conversation=talk, role="user", content="three")
        with self.assertRaises(StorageFull):
            edit_message(message=Message.objects.of(talk.pk).get(position=1), content="eins")
        self.talk("somebody else's", owner=self.bob)
        delete_message(message=Message.objects.of(talk.pk).get(position=2))
        append_message(conversation=talk, role="user", content="room again")

    @override_settings(LIMIT_STORED_BYTES_PER_USER=100)
    def test_bytes_up_to_the_quota_and_no_more(self):
        talk = self.talk("x" * 97, "y" * 50)  # a write that crosses the quota is still stored
        writes: tuple[Callable[[], object], ...] = (
            lambda: append_message(conversation=talk, role="user", content="z"),
            lambda: start_conversation(owner_id=self.alice.pk),
            lambda: update_conversation(conversation=talk, metadata={"more": "x"}),
        )
        for write in writes:
            with self.assertRaisesRegex(StorageFull, "149 of at most 100 bytes.*LIMIT_STORED_BYTES_PER_USER"):
                write()
        update_conversation(conversation=talk, archived_at=None)
        reset_conversation(conversation=talk)
        append_message(conversation=talk, role="user", content="z")

    @override_settings(LIMIT_MESSAGES_PER_USER=3)
    def test_an_account_that_somebody_made_has_no_quota_of_its_own(self):
        made = register_user(username=f"made-{uuid.uuid4().hex[:8]}")
        User.objects.filter(pk=made.pk).update(created_by=self.alice, limits_owner=self.alice)
        talk = self.talk("one", "two")
        theirs = self.talk("three", owner=made)
        for owner in (self.alice, made):
            self.assertEqual(held(owner.pk).messages, 3)
        for full in (talk, theirs):
            with self.assertRaisesMessage(StorageFull, "3 of at most 3"):
                append_message(conversation=full, role="user", content="four")

    @override_settings(LIMIT_MESSAGES_PER_USER=3)
    def test_an_import_stops_at_the_quota_and_says_why(self):
        skipped = self.bring_in("a", "b", "c")
        self.assertEqual(held(self.alice.pk).messages, 2)
        self.assertEqual(len(skipped), 2)
        for reason in (*skipped, *self.bring_in("b")):
            self.assertIn("LIMIT_MESSAGES_PER_USER", reason)

    def test_staff_see_what_an_account_holds(self):
        self.talk("one")
        self.client.force_login(register_user(username=f"staff-{uuid.uuid4().hex[:8]}", superuser=True))
        page = self.client.get(f"/admin/accounts/user/{self.alice.pk}/change/")
        self.assertContains(page, f"1 messages, {EMPTY + 3} bytes")


class SliceTest(TestCase):
    """A long conversation is deleted in slices: thousands of deletions at once would block other writers."""

    def setUp(self) -> None:
        self.alice = register_user(username=f"alice-{uuid.uuid4().hex[:8]}")
        self.talk = start_conversation(owner_id=self.alice.pk)
        rows: list[Message] = []
        parent: uuid.UUID | None = None
        for position in range(1, 3 * DELETE_SLICE + 2):
            rows.append(
                Message(conversation=self.talk, parent_id=parent, position=position, role="user", content=f"{position}")
            )
            parent = rows[-1].pk
        Message.objects.bulk_create(rows)
        Conversation.objects.filter(pk=self.talk.pk).update(head=parent, next_position=len(rows) + 1)

    def left(self) -> list[int]:
        return list(Message.objects.of(self.talk.pk).oldest_first().values_list("position", flat=True))

    def test_each_slice_is_small_and_leaves_a_whole_tree(self):
        seen: list[list[int]] = []
        with mock.patch.object(services, "announce_messages", lambda pk: seen.append(self.left())):
            services.shorten(self.talk.pk)
        self.assertEqual([len(each) for each in seen], [2 * DELETE_SLICE + 1, DELETE_SLICE + 1, 1])
        self.assertEqual(self.left(), [1])

    def test_deleting_it_takes_everything(self):
        delete_conversation(conversation=self.talk)
        self.assertEqual((self.left(), held(self.alice.pk)), ([], Held()))

    def test_reset_keeps_the_conversation_alone(self):
        reset_conversation(conversation=self.talk)
        self.talk.refresh_from_db()
        self.assertEqual((self.left(), self.talk.head_id, self.talk.next_position), ([], None, 1))

    def test_it_stops_where_the_conversation_is_wanted_after_all(self):
        services.shorten(self.talk.pk, Conversation.objects.filter(title="another"))
        self.assertEqual(len(self.left()), 3 * DELETE_SLICE + 1)


class CommittedTest(KeptTablesTestCase):
    def test_the_counters_are_right_after_many_wrote_at_once(self):
        users = [register_user(username=f"many-{uuid.uuid4().hex[:8]}") for _ in range(2)]

        def write(number: int) -> None:
            try:
                for user in users if number % 2 else users[::-1]:
                    talk = start_conversation(owner_id=user.pk)
                    for text in ("one", "two"):
                        append_message(conversation=talk, role="user", content=text)
                    if number % 3 == 0:
                        delete_conversation(conversation=talk)
                    quota.fold()
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(write, range(12)))
        for user in users:
            self.assertEqual(held(user.pk), Held(16, 8 * (EMPTY + 6)))
        mine = {user.pk for user in users}
        self.assertFalse([drift for drift in quota.drifts() if drift.owner_id in mine])
        for user in users:
            delete_user(user=user)
        quota.fold()
        self.assertFalse(StoredUsage.objects.filter(owner_id__in=mine).exists())
