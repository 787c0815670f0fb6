"""The log of looks: written before anything is shown, never changed, and of an erased owner only an id is left."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection, transaction
from django.test import TestCase, override_settings
from django.utils import timezone

from accounts.models import User
from accounts.principal import Principal
from accounts.services import delete_user, register_user
from conversations.append_only import protect, unprotect
from conversations.checks import looks_are_append_only, looks_are_kept_for_a_year
from conversations.looks import NotReadable, ReasonNeeded, may_read_content, record_look, record_looks
from conversations.models import Conversation, Look
from conversations.retention import prune_looks
from conversations.services import start_conversation

REASON = "Complaint 4711, agreed with Alice"


class LooksCase(TestCase):
    def setUp(self) -> None:
        self.alice = register_user(username="alice")
        self.bob = register_user(username="bob")
        self.carol = register_user(username="carol", superuser=True)
        self.talk = start_conversation(owner_id=self.alice.pk, title="Mine")

    def look(self, **changes: Any) -> Look:
        record_look(
            **{
                "reader": self.carol,
                "kind": Look.Kind.TRANSCRIPT,
                "reason": REASON,
                "conversation": self.talk,
                **changes,
            }
        )
        return Look.objects.newest_first()[0]


class RecordingTest(LooksCase):
    def test_a_look_says_who_whose_when_and_why(self) -> None:
        look = self.look(reason=f"  {REASON}\n ")
        self.assertEqual((look.reader_id, look.reader_name), (self.carol.pk, "carol"))
        self.assertEqual((look.owner_id, look.conversation_id), (self.alice.pk, self.talk.pk))
        self.assertEqual((look.kind, look.reason), ("transcript", REASON))

    def test_no_reason_no_look(self) -> None:
        for reason in ("", "because", " \n\t  x ", "x" * 301, "\x00" * 20):
            with self.subTest(reason), self.assertRaises(ReasonNeeded):
                self.look(reason=reason)
        self.assertFalse(Look.objects.exists())

    def test_a_search_is_a_look_at_each_conversation_it_showed_and_at_nobody_when_it_showed_none(self) -> None:
        other = start_conversation(owner_id=self.bob.pk)
        pairs = [(self.talk.pk, self.alice.pk), (other.pk, self.bob.pk), (self.talk.pk, self.alice.pk)]
        record_looks(reader=self.carol, kind=Look.Kind.SEARCH, reason=REASON, conversations=pairs)
        self.assertEqual(set(Look.objects.values_list("owner_id", flat=True)), {self.alice.pk, self.bob.pk})
        self.assertEqual(Look.objects.count(), 2)
        record_looks(reader=self.carol, kind=Look.Kind.SEARCH, reason=REASON, conversations=[])
        self.assertEqual(Look.objects.filter(owner_id=None, conversation_id=None).count(), 1)

    def test_the_permission_is_needed_and_the_setting_overrules_everybody(self) -> None:
        dave = register_user(username="dave", staff=True)
        self.assertFalse(may_read_content(dave))
        with self.assertRaises(NotReadable):
            self.look(reader=dave)
        dave.user_permissions.add(Permission.objects.get(codename="read_content"))
        dave = User.objects.get(pk=dave.pk)
        self.assertTrue(may_read_content(dave))
        with override_settings(STAFF_CONTENT_ACCESS=False):
            for reader in (dave, self.carol):
                self.assertFalse(may_read_content(reader))
                with self.assertRaises(NotReadable):
                    self.look(reader=reader)
        User.objects.filter(pk=dave.pk).update(is_staff=False)
        self.assertFalse(may_read_content(User.objects.get(pk=dave.pk)))

    def test_the_owner_sees_theirs_and_nobody_elses(self) -> None:
        self.look()
        self.look(conversation=start_conversation(owner_id=self.bob.pk))
        guest = register_user(username="guest", guest_made=True)
        self.look(conversation=start_conversation(owner_id=guest.pk))
        for user in (self.alice, self.bob):
            [seen] = Look.objects.owned_by(Principal(user_id=user.pk, username=user.username))
            self.assertEqual(seen.owner_id, user.pk)
        [seen] = Look.objects.owned_by(Principal(user_id=guest.pk, username="guest", is_guest=True))
        self.assertEqual(seen.owner_id, guest.pk)


class AppendOnlyTest(LooksCase):
    def refused(self, act: Any) -> None:
        with self.assertRaises(DatabaseError) as caught, transaction.atomic():
            act()
        self.assertIn("append-only", str(caught.exception))

    def test_the_database_refuses_to_change_or_delete(self) -> None:
        look = self.look()
        rows = Look.objects.filter(pk=look.pk)
        changes: list[dict[str, Any]] = [
            {"reason": "Nothing"}, {"reason": ""}, {"reader_name": "somebody"}, {"owner_id": uuid.uuid4()},
            {"owner_id": None}, {"conversation_id": None}, {"created_at": self.carol.date_joined}, {"kind": "export"},
        ]  # fmt: skip
        for change in changes:
            with self.subTest(change):
                self.refused(lambda change=change: rows.update(**change))
        self.refused(rows.delete)
        self.refused(look.delete)
        self.refused(lambda: connection.cursor().execute("DELETE FROM conversations_look"))
        self.assertEqual(rows.get().reason, REASON)

    def test_what_is_older_than_a_year_goes_and_nothing_younger_can(self) -> None:
        def aged(days: float) -> Look:
            made = timezone.now() - dt.timedelta(days=days)
            about = {"reader_id": self.carol.pk, "reader_name": "carol", "owner_id": self.alice.pk}
            return Look.objects.create(kind=Look.Kind.EXPORT, reason=REASON, created_at=made, **about)

        old, young = aged(365.1), aged(363.9)
        recent = self.look()
        for look in (young, recent):
            self.refused(look.delete)
        with override_settings(RETENTION_LOOK_DAYS=0):
            self.assertEqual(prune_looks(), 0)
        self.assertEqual(prune_looks(), 1)
        self.assertEqual(set(Look.objects.all()), {young, recent})
        self.assertFalse(Look.objects.filter(pk=old.pk).exists())

    def test_less_than_a_year_is_refused_at_the_start(self) -> None:
        for days, problems in ((0, 0), (364, 1), (30, 1), (365, 0), (1000, 0)):
            with self.subTest(days), override_settings(RETENTION_LOOK_DAYS=days):
                self.assertEqual(len(looks_are_kept_for_a_year()), problems)

    def test_it_outlives_the_conversation_and_the_reader(self) -> None:
        look = self.look()
        Conversation.objects.filter(pk=self.talk.pk).delete()
        delete_user(user=self.carol)
        kept = Look.objects.get(pk=look.pk)
        self.assertEqual((kept.reader_name, kept.reason, kept.owner_id), ("carol", REASON, self.alice.pk))

    def test_of_an_erased_owner_only_ids_stay(self) -> None:
        look, others = self.look(), self.look(conversation=start_conversation(owner_id=self.bob.pk))
        owner_id = self.alice.pk
        delete_user(user=self.alice)
        kept = Look.objects.get(pk=look.pk)
        self.assertEqual((kept.reason, kept.owner_id, kept.reader_name), ("", owner_id, "carol"))
        self.assertEqual(Look.objects.get(pk=others.pk).reason, REASON)
        self.refused(lambda: Look.objects.filter(pk=look.pk).update(reason="Something else"))
        self.refused(lambda: Look.objects.filter(pk=look.pk).update(reader_name="", reason=""))

    def test_a_missing_trigger_is_found(self) -> None:
        self.assertEqual(looks_are_append_only(databases=["default"]), [])

        class Editor:
            def __init__(self) -> None:
                self.connection = connection

            def execute(self, sql: str) -> None:
                with connection.cursor() as cursor:
                    cursor.execute(sql)

        unprotect(None, Editor())
        self.assertEqual([found.id for found in looks_are_append_only(databases=["default"])], ["conversations.E001"])
        protect(None, Editor())
        self.assertEqual(looks_are_append_only(databases=["default"]), [])
