"""Several `manage.py index_messages` at once, some killed: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid

from django.conf import settings

from accounts.services import delete_user, register_user
from chatservice import testing
from chatservice.testing import ROOT, KeptTablesTestCase, pause, stop_shared_service, wait_until
from conversations.models import Conversation, Message
from search.models import Entry, Passage, PendingMessage

MESSAGES = 6_000
PER_CONVERSATION = 100


class KilledIndexersTest(KeptTablesTestCase):
    def setUp(self) -> None:
        stop_shared_service()  # its indexer would do a part of the work
        self.alice = register_user(username=f"alice-{uuid.uuid4().hex[:12]}")
        self.addCleanup(delete_user, user=self.alice)
        self.running: list[subprocess.Popen] = []
        self.addCleanup(self.end_all)

    def test_what_killed_indexers_had_claimed_others_do(self):
        self.say_much()
        first = self.index()
        wait_until(lambda: self.passages() > 0, timeout=60, what="a first batch")
        self.kill_with_a_claim(first)
        second, third = self.index(), self.index()
        done = self.passages()
        wait_until(lambda: self.passages() > done, timeout=60, what="a batch after the first one died")
        self.assertIsNone(second.poll())
        self.kill(second)
        self.assertLess(self.passages(), MESSAGES, "they were killed too late to prove anything")
        self.assertIsNone(third.poll())
        wait_until(lambda: self.ended(third), timeout=60, what="the end")
        self.assertEqual(third.wait(60), 0)
        self.assertFalse(PendingMessage.objects.filter(owner_id=self.alice.pk).exists())
        self.assertEqual((self.entries().count(), self.passages()), (MESSAGES, MESSAGES))
        for conversation in Conversation.objects.filter(owner=self.alice):
            messages = self.entries().filter(message_id__in=conversation.messages.values("id")).order_by("message_id")
            chain = list(messages.values_list("id", "previous_1"))
            self.assertEqual([previous for _, previous in chain], [None, *(entry for entry, _ in chain[:-1])])

    def say_much(self) -> None:
        for talk in range(MESSAGES // PER_CONVERSATION):
            conversation = Conversation.objects.create(owner=self.alice, title=f"Talk {talk}")
            messages: list[Message] = []
            for position in range(1, PER_CONVERSATION + 1):
                above = messages[-1] if messages else None
                content = f"whale number {position} of talk {talk}"
                messages.append(
                    Message(conversation=conversation, parent=above, position=position, role="user", content=content)
                )
            Message.objects.bulk_create(messages)

    def index(self) -> subprocess.Popen:
        environment = {
            **os.environ,
            "DATABASE_URL": testing.test_database_url(),
            "SECRET_KEY": settings.SECRET_KEY,
            "SEARCH_EMBEDDER": "hashing",
        }
        process = subprocess.Popen(
            [sys.executable, "manage.py", "index_messages"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.running.append(process)
        return process

    def kill_with_a_claim(self, process: subprocess.Popen) -> None:
        def has_claimed() -> bool:
            pause(process.pid)
            if self.claims().exists():
                return True
            process.send_signal(signal.SIGCONT)
            return False

        wait_until(has_claimed, timeout=60, what="a claim")
        self.kill(process)
        self.assertTrue(self.claims().exists())

    def kill(self, process: subprocess.Popen) -> None:
        process.kill()
        process.wait()

    def end_all(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()

    def claims(self):
        return PendingMessage.objects.filter(owner_id=self.alice.pk, claimed_until__gt=1)

    def ended(self, process: subprocess.Popen) -> bool:
        """Let the indexer's claims expire, as after two minutes, and tell whether it has ended."""
        # Expire everybody's claims: the killed indexers may have claimed messages that earlier tests left.
        PendingMessage.objects.filter(claimed_until__gt=1).update(claimed_until=1)
        return process.poll() is not None

    def entries(self):
        return Entry.objects.filter(message_id__in=Message.objects.filter(conversation__owner=self.alice).values("id"))

    def passages(self) -> int:
        return Passage.objects.filter(entry_id__in=self.entries().values("id")).count()
