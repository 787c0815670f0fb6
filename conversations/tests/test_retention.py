"""Guests' data is deleted in time; accounts' data is kept unless the operator sets a limit."""

from __future__ import annotations

import datetime as dt
from io import StringIO
from unittest import mock

from django.core.management import call_command
from django.test import TestCase, override_settings
from django.utils import timezone

from accounts.models import User
from accounts.services import guest_user, register_user
from conversations import retention
from conversations.models import Conversation, Message
from conversations.retention import prune_history
from conversations.services import append_message, delete_conversation, start_conversation


class RetentionTest(TestCase):
    def setUp(self) -> None:
        self.alice = register_user(username="alice")
        self.guest = guest_user()

    def talk(self, owner: User, *, said: bool, hours: float) -> Conversation:
        """A conversation last touched this many hours ago."""
        talk = start_conversation(owner_id=owner.pk)
        if said:
            append_message(conversation=talk, role="user", content="Hello")
        Conversation.objects.filter(pk=talk.pk).update(updated_at=timezone.now() - dt.timedelta(hours=hours))
        return talk

    def left(self) -> set:
        return set(Conversation.objects.values_list("pk", flat=True))

    def test_guests_empty_conversations_go_after_a_day_and_others_after_a_month(self):
        month = 30 * 24
        kept = [
            self.talk(self.guest, said=False, hours=23.9),
            self.talk(self.guest, said=True, hours=month - 0.1),
            self.talk(self.alice, said=False, hours=10_000),
            self.talk(self.alice, said=True, hours=10_000),
        ]
        gone = [self.talk(self.guest, said=False, hours=24.1), self.talk(self.guest, said=True, hours=month + 0.1)]
        output = StringIO()
        call_command("prune_history", "--dry-run", stdout=output)
        self.assertIn("2 conversations", output.getvalue())
        self.assertEqual(self.left(), {talk.pk for talk in (*kept, *gone)})
        call_command("prune_history", stdout=output)
        self.assertIn("2 conversations deleted", output.getvalue())
        self.assertEqual(self.left(), {talk.pk for talk in kept})
        self.assertFalse(Message.objects.filter(conversation__in=gone).exists())
        self.assertEqual(prune_history(), 0)

    @override_settings(RETENTION_DAYS=90, RETENTION_GUEST_DAYS=0, RETENTION_GUEST_EMPTY_HOURS=0)
    def test_an_account_keeps_what_its_operator_says_and_0_keeps_everything(self):
        self.talk(self.alice, said=True, hours=90 * 24 + 1)
        kept = [
            self.talk(self.alice, said=True, hours=90 * 24 - 1),
            self.talk(self.guest, said=False, hours=10_000),
            self.talk(self.guest, said=True, hours=10_000),
        ]
        self.assertEqual(prune_history(), 1)
        self.assertEqual(self.left(), {talk.pk for talk in kept})

    def test_more_than_one_batch_goes_at_once(self):
        for _ in range(5):
            self.talk(self.guest, said=False, hours=25)
        with mock.patch.object(retention, "BATCH", 2):
            self.assertEqual(prune_history(), 5)

    def test_what_is_used_again_while_it_is_deleted_stays(self):
        first, second = (self.talk(self.guest, said=False, hours=25) for _ in range(2))

        def delete(*, conversation: Conversation) -> None:
            delete_conversation(conversation=conversation)
            append_message(conversation=second, role="user", content="I am back")

        with mock.patch.object(retention, "delete_conversation", delete):
            deleted = prune_history()
        self.assertEqual((deleted, self.left()), (1, {second.pk}))
