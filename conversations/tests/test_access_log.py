"""Access is logged before anything is shown; entries never change; for an erased owner they keep only the id."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection, transaction
from django.test import TestCase, override_settings
from django.utils import timezone

from accounts.callers import Principal
from accounts.models import User
from accounts.services import delete_user, register_user
from conversations.access_log import NotReadable, ReasonNeeded, may_read_content, record_access, record_accesses
from conversations.append_only import protect, unprotect
from conversations.checks import access_log_is_append_only, access_log_is_kept_for_a_year
from conversations.models import AccessLogEntry, Conversation
from conversations.retention import prune_access_log
from conversations.services import start_conversation

REASON = "Complaint 4711, agreed with Alice"


class AccessLogCase(TestCase):
    def setUp(self) -> None:
        self.alice = register_user(username="alice")
        self.bob = register_user(username="bob")
        self.carol = register_user(username="carol", superuser=True)
        self.talk = start_conversation(owner_id=self.alice.pk, title="Mine")

    def entry(self, **changes: Any) -> AccessLogEntry:
        record_access(
            **{
                "reader": self.carol,
                "kind": AccessLogEntry.Kind.TRANSCRIPT,
                "reason": REASON,
                "conversation": self.talk,
                **changes,
            }
        )
        return AccessLogEntry.objects.newest_first()[0]


class RecordingTest(AccessLogCase):
    def test_an_entry_says_who_whose_when_and_why(self) -> None:
        entry = self.entry(reason=f"  {REASON}\n ")
        self.assertEqual((entry.reader_id, entry.reader_name), (self.carol.pk, "carol"))
        self.assertEqual((entry.owner_id, entry.conversation_id), (self.alice.pk, self.talk.pk))
        self.assertEqual((entry.kind, entry.reason), ("transcript", REASON))

    def test_no_reason_no_entry(self) -> None:
        for reason in ("", "because", " \n\t  x ", "x" * 301, "\x00" * 20):
            with self.subTest(reason), self.assertRaises(ReasonNeeded):
                self.entry(reason=reason)
        self.assertFalse(AccessLogEntry.objects.exists())

    def test_a_search_has_an_entry_for_each_conversation_it_showed_and_one_of_nobody_when_it_showed_none(self) -> None:
        other = start_conversation(owner_id=self.bob.pk)
        pairs = [(self.talk.pk, self.alice.pk), (other.pk, self.bob.pk), (self.talk.pk, self.alice.pk)]
        record_accesses(reader=self.carol, kind=AccessLogEntry.Kind.SEARCH, reason=REASON, conversations=pairs)
        self.assertEqual(set(AccessLogEntry.objects.values_list("owner_id", flat=True)), {self.alice.pk, self.bob.pk})
        self.assertEqual(AccessLogEntry.objects.count(), 2)
        record_accesses(reader=self.carol, kind=AccessLogEntry.Kind.SEARCH, reason=REASON, conversations=[])
        self.assertEqual(AccessLogEntry.objects.filter(owner_id=None, conversation_id=None).count(), 1)

    def test_the_permission_is_needed_and_the_setting_overrules_everybody(self) -> None:
        dave = register_user(username="dave", staff=True)
        self.assertFalse(may_read_content(dave))
        with self.assertRaises(NotReadable):
            self.entry(reader=dave)
        dave.user_permissions.add(Permission.objects.get(codename="read_content"))
        dave = User.objects.get(pk=dave.pk)
        self.assertTrue(may_read_content(dave))
        with override_settings(STAFF_CONTENT_ACCESS=False):
            for reader in (dave, self.carol):
                self.assertFalse(may_read_content(reader))
                with self.assertRaises(NotReadable):
                    self.entry(reader=reader)
        User.objects.filter(pk=dave.pk).update(is_staff=False)
        self.assertFalse(may_read_content(User.objects.get(pk=dave.pk)))

    def test_the_owner_sees_theirs_and_nobody_elses(self) -> None:
        self.entry()
        self.entry(conversation=start_conversation(owner_id=self.bob.pk))
        guest = register_user(username="guest", guest_made=True)
        self.entry(conversation=start_conversation(owner_id=guest.pk))
        for user in (self.alice, self.bob):
            [seen] = AccessLogEntry.objects.visible_to(Principal(user_id=user.pk, username=user.username))
            self.assertEqual(seen.owner_id, user.pk)
        [seen] = AccessLogEntry.objects.visible_to(Principal(user_id=guest.pk, username="guest", is_guest=True))
        self.assertEqual(seen.owner_id, guest.pk)


class AppendOnlyTest(AccessLogCase):
    def refused(self, act: Any) -> None:
        with self.assertRaises(DatabaseError) as caught, transaction.atomic():
            act()
        self.assertIn("append-only", str(caught.exception))

    def test_the_database_refuses_to_change_or_delete(self) -> None:
        entry = self.entry()
        rows = AccessLogEntry.objects.filter(pk=entry.pk)
        changes: list[dict[str, Any]] = [
            {"reason": "Nothing"}, {"reason": ""}, {"reader_name": "somebody"}, {"owner_id": uuid.uuid4()},
            {"owner_id": None}, {"conversation_id": None}, {"created_at": self.carol.date_joined}, {"kind": "export"},
        ]  # fmt: skip
        for change in changes:
            with self.subTest(change):
                self.refused(lambda change=change: rows.update(**change))
        self.refused(rows.delete)
        self.refused(entry.delete)
        self.refused(lambda: connection.cursor().execute("DELETE FROM conversations_accesslogentry"))
        self.assertEqual(rows.get().reason, REASON)

    def test_what_is_older_than_a_year_goes_and_nothing_younger_can(self) -> None:
        def aged(days: float) -> AccessLogEntry:
            made = timezone.now() - dt.timedelta(days=days)
            about = {"reader_id": self.carol.pk, "reader_name": "carol", "owner_id": self.alice.pk}
            return AccessLogEntry.objects.create(
                kind=AccessLogEntry.Kind.EXPORT, reason=REASON, created_at=made, **about
            )

        old, young = aged(365.1), aged(363.9)
        recent = self.entry()
        for entry in (young, recent):
            self.refused(entry.delete)
        with override_settings(RETENTION_ACCESS_LOG_DAYS=0):
            self.assertEqual(prune_access_log(), 0)
        self.assertEqual(prune_access_log(), 1)
        self.assertEqual(set(AccessLogEntry.objects.all()), {young, recent})
        self.assertFalse(AccessLogEntry.objects.filter(pk=old.pk).exists())

    def test_less_than_a_year_is_refused_at_the_start(self) -> None:
        for days, problems in ((0, 0), (364, 1), (30, 1), (365, 0), (1000, 0)):
            with self.subTest(days), override_settings(RETENTION_ACCESS_LOG_DAYS=days):
                self.assertEqual(len(access_log_is_kept_for_a_year()), problems)

    def test_it_outlives_the_conversation_and_the_reader(self) -> None:
        entry = self.entry()
        Conversation.objects.filter(pk=self.talk.pk).delete()
        delete_user(user=self.carol)
        kept = AccessLogEntry.objects.get(pk=entry.pk)
        self.assertEqual((kept.reader_name, kept.reason, kept.owner_id), ("carol", REASON, self.alice.pk))

    def test_of_an_erased_owner_only_ids_stay(self) -> None:
        entry, others = self.entry(), self.entry(conversation=start_conversation(owner_id=self.bob.pk))
        owner_id = self.alice.pk
        delete_user(user=self.alice)
        kept = AccessLogEntry.objects.get(pk=entry.pk)
        self.assertEqual((kept.reason, kept.owner_id, kept.reader_name), ("", owner_id, "carol"))
        self.assertEqual(AccessLogEntry.objects.get(pk=others.pk).reason, REASON)
        self.refused(lambda: AccessLogEntry.objects.filter(pk=entry.pk).update(reason="Something else"))
        self.refused(lambda: AccessLogEntry.objects.filter(pk=entry.pk).update(reader_name="", reason=""))

    def test_a_missing_trigger_is_found(self) -> None:
        self.assertEqual(access_log_is_append_only(databases=["default"]), [])

        class Editor:
            def __init__(self) -> None:
                self.connection = connection

            def execute(self, sql: str) -> None:
                with connection.cursor() as cursor:
                    cursor.execute(sql)

        unprotect(apps, Editor())
        self.assertEqual(
            [found.id for found in access_log_is_append_only(databases=["default"])], ["conversations.E001"]
        )
        protect(apps, Editor())
        self.assertEqual(access_log_is_append_only(databases=["default"]), [])
