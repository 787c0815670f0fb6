"""A process that lost a run, to the reaper or by deletion, writes nothing more into it."""

from __future__ import annotations

import time

from django.db import transaction

from chatservice.testing import ServiceTestCase
from completions import services
from completions.models import Chunk, Run
from completions.tests.invariants import invariants
from completions.tests.streaming import listening
from conversations.models import Conversation, Message
from conversations.services import delete_conversation, reset_conversation


class SupersededTest(ServiceTestCase):
    def lose(self, **change: object) -> None:
        """Take a run away from the service while it writes, in one of the possible ways."""
        with listening(self.alice, "fake/slow:20ms:2000") as stream:
            stream.until("token token")
            before = len(self.upstream.hangups)
            Run.objects.filter(pk=stream.run_id).update(**change)
            taken = time.monotonic()
            # All writes that were in progress at that moment have reached the database.
            last = Chunk.objects.filter(run_id=stream.run_id).count()
            self.assertTrue(self.upstream.wait_for_hangup(before + 1, timeout=5))
            self.assertLess((self.upstream.hangups[-1].hung_up or 0) - taken, 1.5)
            run = Run.objects.get(pk=stream.run_id)
            self.assertEqual({name: getattr(run, name) for name in change}, change)
            self.assertEqual(Chunk.objects.filter(run_id=run.pk).count(), last)
            self.assertEqual(Message.objects.get(run=run).content, "")
            services.interrupt(run)  # its reader follows the one that has it now
            stream.rest()
        self.assertEqual(stream.events[-1], "[DONE]")
        self.assertEqual(len([event for event in stream.events if "error" in event]), 1)
        assert stream.error is not None
        self.assertEqual(stream.error["code"], "interrupted")
        self.assertEqual(Chunk.objects.filter(run_id=stream.run_id).count(), last)
        self.assertEqual(Message.objects.get(run=stream.run_id).content, stream.text)
        self.assertEqual(invariants([self.alice.user]), [])

    def test_a_run_that_another_worker_took_is_not_written_to(self):
        self.lose(worker="another-host:1:abc", epoch=2)

    def test_a_reaped_run_stays_reaped(self):
        with listening(self.alice, "fake/slow:20ms:2000") as stream:
            stream.until("token token")
            with transaction.atomic():  # as the reaper: what is written meanwhile comes before or never
                services.interrupt(Run.objects.select_for_update().get(pk=stream.run_id))
            row = Run.objects.filter(pk=stream.run_id).values().get()
            content = Message.objects.get(run=stream.run_id).content
            stream.rest()
        self.assertEqual(Run.objects.filter(pk=stream.run_id).values().get(), row)
        self.assertEqual(Message.objects.get(run=stream.run_id).content, content)
        self.assertEqual(len([event for event in stream.events if "error" in event]), 1)
        self.assertEqual(content, stream.text)
        self.assertEqual(row["state"], "interrupted")


class DeletedTest(ServiceTestCase):
    def test_deleting_the_conversation_stops_its_run_and_lets_the_upstream_go(self):
        for remove in (delete_conversation, reset_conversation):
            with listening(self.alice, "fake/slow:20ms:2000") as stream:
                stream.until("token token")
                before = len(self.upstream.hangups)
                run = Run.objects.get(pk=stream.run_id)
                assert run.conversation_id is not None
                remove(conversation=Conversation.objects.get(pk=run.conversation_id))
                gone = time.monotonic()
                self.assertTrue(self.upstream.wait_for_hangup(before + 1, timeout=5))
                self.assertLess((self.upstream.hangups[-1].hung_up or 0) - gone, 1.5)
                stream.rest()
            self.assertEqual(len([event for event in stream.events if "error" in event]), 1)
            self.assertFalse(Run.objects.filter(pk=stream.run_id).exists())
            self.assertFalse(Chunk.objects.filter(run_id=stream.run_id).exists())
            self.assertFalse(Message.objects.filter(conversation_id=run.conversation_id).exists())

    def test_deleting_in_the_middle_of_a_flood_never_fails(self):
        """PostgreSQL checks references at commit: a chunk stored at the same time must not make it fail."""
        for _ in range(6):
            with listening(self.alice, "fake/slow:1ms:4000") as stream:
                stream.until("token token")
                run = Run.objects.get(pk=stream.run_id)
                assert run.conversation_id is not None
                delete_conversation(conversation=Conversation.objects.get(pk=run.conversation_id))
                stream.rest()
            self.assertFalse(Conversation.objects.filter(pk=run.conversation_id).exists())
        self.assertEqual(invariants([self.alice.user]), [])
