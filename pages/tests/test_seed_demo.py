"""The demo data is consistent: branches, failures, todos, an access log, and digests that can be continued."""

from __future__ import annotations

import uuid
from io import StringIO

from django.core.management import CommandError, call_command
from django.test import TestCase
from django.utils import timezone

from accounts.models import User
from completions.models import Run
from conversations import digests
from conversations.models import AccessLogEntry, Conversation, Message, Todo


class SeedDemoTest(TestCase):
    def test_it_makes_a_believable_history_once(self) -> None:
        told = StringIO()
        call_command("seed_demo", "--no-index", stdout=told)
        self.assertGreaterEqual(Message.objects.count(), 950)
        self.assertEqual(Conversation.objects.filter(head=None).count(), 0)
        self.assertGreater(Todo.objects.count(), 3)
        self.assertGreater(AccessLogEntry.objects.count(), 3)
        for status in ("failed", "interrupted", "cancelled"):
            self.assertGreater(Message.objects.filter(status=status).count(), 0, status)
        branched = Message.objects.filter(parent__isnull=False).values("parent").distinct().count()
        self.assertLess(branched, Message.objects.filter(parent__isnull=False).count())
        self.assertEqual(Run.objects.count(), Message.objects.filter(role="assistant").count())
        self.assertFalse(Message.objects.filter(content__contains="{x}").exists())
        self.assertFalse(Message.objects.filter(created_at__gt=timezone.now()).exists())
        self.assertEqual(User.objects.get(username="demo-staff").has_perm("conversations.read_content"), True)
        self.assertEqual(User.objects.get(username="demo-clerk").has_perm("conversations.read_content"), False)
        password = told.getvalue().split("demo-alice")[1].split()[0]
        self.assertTrue(User.objects.get(username="demo-alice").check_password(password))
        self.continues(Conversation.objects.order_by("?")[0])
        with self.assertRaises(CommandError):
            call_command("seed_demo", "--no-index", stdout=told)

    def continues(self, conversation: Conversation) -> None:
        """Ids sort in order of time, and the digests are the ones that the service would compute."""
        rows = list(Message.objects.of(conversation.pk).oldest_first())
        self.assertEqual(sorted(rows, key=lambda row: row.pk)[0], rows[0])
        known: dict[uuid.UUID | None, str] = {None: digests.root(conversation.owner_id)}
        for row in rows:
            self.assertEqual(row.digest, digests.follow(known[row.parent_id], row.as_wire()))
            known[row.pk] = row.digest
            self.assertEqual(row.pk.version, 7)
