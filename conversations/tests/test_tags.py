"""Tags: one spelling each, found by an index, counted, and gone with their conversation."""

from __future__ import annotations

import json
import uuid
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.db import connection
from django.test import SimpleTestCase, TestCase, override_settings
from django.test.utils import CaptureQueriesContext

from accounts.callers import Principal
from accounts.models import User
from accounts.services import register_user
from conversations import quota
from conversations.models import Conversation, ConversationTag
from conversations.quota import held
from conversations.services import StorageFull, delete_conversation, start_conversation, update_conversation
from conversations.tags import load_tags, read_tags, readable_tags, tag_key, tags_of

EMPTY = len(json.dumps({}))


class ReadingTest(SimpleTestCase):
    def test_each_is_kept_once_as_it_was_written_first(self) -> None:
        self.assertEqual(read_tags(["Work", "  big   trip ", "WORK", "work"]), ["big trip", "Work"])
        self.assertEqual(read_tags(["Cafe\u0301", "caf\u00e9", "Stra\u00dfe", "STRASSE"]), ["Caf\u00e9", "Stra\u00dfe"])
        self.assertEqual(read_tags([]), [])

    def test_what_is_none_is_refused_with_the_reason(self) -> None:
        many = [str(number) for number in range(21)]
        wrong: tuple[tuple[Any, str], ...] = (
            *((value, "A list") for value in ("work", None, 5, {"work": 1})),
            *(([value], "a text") for value in (None, 5, ["work"], "a\x00b", "\ud800")),
            *(([value], "empty") for value in ("", " \n\u3000")),
            (["x" * 51], "50 characters"),
            (many, "20 tags"),
        )
        for value, said in wrong:
            with self.assertRaisesMessage(ValueError, said):
                read_tags(value)
        self.assertEqual(len(read_tags([*many[:20], " 0 ", "1"])), 20)  # the same ones again are no more tags
        self.assertEqual(read_tags(["x" * 50, f" {'y' * 50} "]), ["x" * 50, "y" * 50])

    def test_of_a_file_what_are_tags_is_taken(self) -> None:
        self.assertEqual(readable_tags(["b", 5, "", "x" * 51, "A", "a", None]), ["A", "b"])
        self.assertEqual(len(readable_tags(str(number) for number in range(50))), 20)

    def test_the_longest_key_fits_its_column(self) -> None:
        [name] = read_tags(["\ufb03" * 50])  # a ligature that is compared as three letters
        self.assertEqual(len(tag_key(name)), ConversationTag._meta.get_field("key").max_length)


def principal_of(user: User) -> Principal:
    return Principal(user_id=user.pk, username=user.username)


class StoredTest(TestCase):
    def setUp(self) -> None:
        self.alice = register_user(username=f"alice-{uuid.uuid4().hex[:8]}")
        self.bob = register_user(username=f"bob-{uuid.uuid4().hex[:8]}")

    def tagged(self, *tags: str, owner: User | None = None) -> Conversation:
        talk = start_conversation(owner_id=(owner or self.alice).pk)
        return update_conversation(conversation=talk, tags=read_tags(tags))

    def found(self, tag: str, user: User | None = None) -> set[uuid.UUID]:
        caller = principal_of(user or self.alice)
        return set(Conversation.objects.visible_to(caller).tagged(tag_key(tag), caller).values_list("pk", flat=True))

    def test_they_replace_each_other_and_leave_the_order_of_the_list(self) -> None:
        talk = self.tagged("Work", "trip")
        before = Conversation.objects.get(pk=talk.pk).updated_at
        load_tags([talk])
        self.assertEqual(talk.tag_names, ["trip", "Work"])
        update_conversation(conversation=talk, tags=["work"])
        self.assertEqual(talk.tag_names, ["work"])
        self.assertEqual(Conversation.objects.get(pk=talk.pk).tag_names, ["work"])
        self.assertEqual(Conversation.objects.get(pk=talk.pk).updated_at, before)
        update_conversation(conversation=talk, title="New")
        self.assertEqual(talk.tag_names, ["work"])
        self.assertGreater(Conversation.objects.get(pk=talk.pk).updated_at, before)

    def test_one_finds_ones_own_in_any_case(self) -> None:
        work, both, theirs = self.tagged("Work"), self.tagged("work", "Trip"), self.tagged("work", owner=self.bob)
        self.assertEqual(self.found("WORK"), {work.pk, both.pk})
        self.assertEqual((self.found("trip"), self.found("tri")), ({both.pk}, set()))
        self.assertEqual(self.found("work", self.bob), {theirs.pk})
        self.assertEqual(tags_of(principal_of(self.alice)), ["Trip", "Work"])
        self.assertEqual(tags_of(principal_of(self.bob)), ["work"])
        self.assertEqual(Conversation.objects.tagged("work").count(), 3)

    def test_an_index_finds_them(self) -> None:
        caller = principal_of(self.alice)
        # As many as it takes for an index to be worth more than another.
        for owner, keys in ((self.alice, [f"tag {at}" for at in range(300)]), (self.bob, ["work"] * 300)):
            talks = Conversation.objects.bulk_create(Conversation(owner=owner) for _ in keys)
            tags = (
                ConversationTag(conversation=talk, owner=owner, name=key, key=key)
                for talk, key in zip(talks, keys, strict=True)
            )
            ConversationTag.objects.bulk_create(tags)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        with CaptureQueriesContext(connection) as queries:
            list(Conversation.objects.visible_to(caller).tagged("work", caller).newest_first()[:31])
            tags_of(caller)
            list(Conversation.objects.tagged("work")[:50])
        for query, index in zip(queries, ("owner", "owner", "key"), strict=True):
            with connection.cursor() as cursor:
                if connection.vendor == "postgresql":
                    cursor.execute("SET LOCAL enable_seqscan = off")
                    cursor.execute("SET LOCAL enable_bitmapscan = off")
                    cursor.execute(f"EXPLAIN {query['sql']}")
                else:
                    cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
                plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
            self.assertRegex(
                plan, f"(?i)using (covering )?index conversation_tag_{index}|using conversation_tag_{index}"
            )

    def test_they_count_and_are_gone_with_their_conversation(self) -> None:
        talk = self.tagged("Caf\u00e9", "x")
        self.assertEqual(held(self.alice.pk).bytes, EMPTY + 6)
        update_conversation(conversation=talk, tags=["x"])
        self.assertEqual(held(self.alice.pk).bytes, EMPTY + 1)
        self.assertEqual(list(quota.drifts()), [])
        with override_settings(LIMIT_STORED_BYTES_PER_USER=EMPTY + 1):
            with self.assertRaises(StorageFull):
                update_conversation(conversation=talk, tags=["y"])
            update_conversation(conversation=talk, tags=[])  # which makes room
        self.assertEqual(held(self.alice.pk).bytes, EMPTY)
        update_conversation(conversation=talk, tags=["x"])
        delete_conversation(conversation=talk)
        self.assertEqual((held(self.alice.pk).bytes, ConversationTag.objects.count()), (0, 0))
        self.assertEqual(list(quota.drifts()), [])

    def test_what_a_version_without_tags_left_behind_is_deleted(self) -> None:
        kept, gone = self.tagged("kept"), self.tagged("gone")
        Conversation.objects.filter(pk=gone.pk)._raw_delete(using="default")
        self.assertEqual(ConversationTag.objects.count(), 2)
        call_command("prune_history", stdout=StringIO())
        self.assertEqual([tag.conversation_id for tag in ConversationTag.objects.all()], [kept.pk])
        self.assertEqual(list(quota.drifts()), [])

    def test_a_conversation_that_is_gone_gets_none(self) -> None:
        talk = self.tagged("one")
        Conversation.objects.filter(pk=talk.pk).delete()
        with self.assertRaises(Conversation.DoesNotExist):
            update_conversation(conversation=talk, tags=["two"])
        self.assertFalse(ConversationTag.objects.exists())
