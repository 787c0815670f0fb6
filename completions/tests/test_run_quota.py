"""What a run repeats of its request counts against the quota of bytes, as messages do, whoever writes or deletes it."""

from __future__ import annotations

import uuid
from typing import Any

from django.core.management import call_command
from django.db import connection
from django.test import TestCase

from accounts.services import delete_user, register_user
from completions.models import Run
from conversations import quota
from conversations.apps import _after_migrations, _before_migrations
from conversations.models import StoredUsage
from conversations.quota import Held, held
from conversations.services import delete_conversation, start_conversation

TOOLS = {"tools": [{"type": "function", "name": "look", "description": "Zo\u00eb looks. " * 20}]}
TRIGGERS = ("added", "gone", "changed")


class RunQuotaTest(TestCase):
    def setUp(self) -> None:
        self.alice = register_user(username=f"alice-{uuid.uuid4().hex[:8]}")
        self.bob = register_user(username=f"bob-{uuid.uuid4().hex[:8]}")

    def run_with(self, echo: Any, **fields: Any) -> Run:
        given = {"user": self.alice, "worker": "w", "lease_until": 0.0, "upstream": "fake", "model": "m", **fields}
        return Run.objects.create(echo=echo, state=Run.State.COMPLETE, **given)

    def stored_bytes(self) -> int:
        """Return the bytes of all echoes, as the database writes them."""
        size = "octet_length(echo::text)" if connection.vendor == "postgresql" else "length(CAST(echo AS BLOB))"
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT coalesce(sum({size}), 0) FROM completions_run")
            return int(cursor.fetchone()[0])

    def assert_holds(self, size: int) -> None:
        self.assertEqual(held(self.alice.pk), Held(0, size))
        self.assertEqual(list(quota.drifts()), [])

    def test_it_counts_when_written_changed_and_deleted(self):
        self.run_with(None)
        self.assert_holds(0)
        run = self.run_with(TOOLS)
        self.assertGreater(self.stored_bytes(), 250)
        self.assert_holds(self.stored_bytes())
        Run.objects.filter(pk=run.pk).update(echo={**TOOLS, "instructions": "Be brief."})
        self.assert_holds(self.stored_bytes())
        Run.objects.filter(pk=run.pk).update(echo=None)
        self.assert_holds(0)
        Run.objects.filter(pk=run.pk).update(echo=TOOLS)
        self.assert_holds(self.stored_bytes())
        Run.objects.filter(pk=run.pk).update(user=self.bob)
        self.assert_holds(0)
        self.assertEqual(held(self.bob.pk).bytes, self.stored_bytes())
        Run.objects.all().delete()
        self.assertEqual(held(self.bob.pk), Held())

    def test_it_is_given_back_with_the_conversation_and_gone_with_the_account(self):
        talk = start_conversation(owner_id=self.alice.pk)
        empty = held(self.alice.pk).bytes
        self.run_with(TOOLS, conversation=talk)
        self.assert_holds(empty + self.stored_bytes())
        delete_conversation(conversation=talk)
        self.assert_holds(0)
        self.run_with(TOOLS)
        delete_user(user=self.alice)
        quota.fold()
        self.assertFalse(StoredUsage.objects.filter(owner_id=self.alice.pk).exists())
        self.assertEqual(list(quota.drifts()), [])

    def test_what_was_stored_before_is_counted_after_the_migrations(self):
        with connection.cursor() as cursor:
            for name in TRIGGERS:
                on = " ON completions_run" if connection.vendor == "postgresql" else ""
                cursor.execute(f"DROP TRIGGER usage_completions_run_{name}{on}")
        self.run_with(TOOLS)
        self.assertEqual(held(self.alice.pk), Held())
        _before_migrations(None, using="default", plan=["forward"])
        _after_migrations(None, using="default", plan=["forward"])
        self.assert_holds(self.stored_bytes())

    def test_the_command_recounts_it(self):
        self.run_with(TOOLS)
        StoredUsage.objects.filter(owner_id=self.alice.pk).update(bytes=7)
        call_command("recount_storage", verbosity=0)
        self.assert_holds(self.stored_bytes())
