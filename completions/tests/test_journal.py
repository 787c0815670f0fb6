"""Group commit: a batch is committed together, and a failed item does not affect the others."""

from __future__ import annotations

import asyncio
import uuid
from unittest import mock

from django.db import DatabaseError, OperationalError

from accounts.models import User
from completions import commits as module
from completions import services
from completions.exceptions import CompletionError
from completions.journal import journal
from completions.models import Chunk, Run
from completions.readers import subscribe
from completions.run_requests import RunHandle
from completions.run_results import RunResult
from completions.tests.asking import question
from completions.tests.committed import CommittedTestCase, endings, finished, follow, text_of
from completions.types import Delta
from conversations.models import Message
from usage.ledger import Charge


class BatchTest(CommittedTestCase):
    def test_questions_asked_together_are_all_answered(self):
        async def test():
            return await asyncio.gather(*(finished(question(self.alice, f"word{n}")) for n in range(20)))

        for handle, events in self.in_loop(test):
            self.assertEqual([each.status for each in endings(events)], ["complete"])
            message = Message.objects.get(pk=handle.message_id)
            self.assertEqual(message.content, text_of(events))
        self.assertEqual(Run.objects.filter(user=self.alice, state="complete").count(), 20)

    def test_a_question_that_cannot_be_stored_spoils_no_other(self):
        nobody = User(id=uuid.uuid4(), username="nobody")

        async def test():
            run_requests = [question(self.alice, "one"), question(nobody, "lost"), question(self.bob, "two")]
            return await asyncio.gather(*map(services.submit, run_requests), return_exceptions=True)

        results = self.in_loop(test)
        self.assertIsInstance(results[1], CompletionError)
        self.assertEqual([type(each) for each in results[::2]], [RunHandle, RunHandle])
        self.assertEqual(Run.objects.filter(user__in=self.users).count(), 2)

    def test_an_outcome_that_cannot_be_stored_spoils_no_other(self):
        async def test():
            with mock.patch.object(services.runner, "start"):
                good, bad = await asyncio.gather(*(services.submit(question(self.alice, text)) for text in ("a", "b")))
            run_results = [
                RunResult(good.run_id, good.message_id, good.conversation_id, "complete", content="kept"),
                # Further choices in a conversation that does not exist.
                RunResult(bad.run_id, bad.message_id, uuid.uuid4(), "complete", siblings=({"content": "x"},)),
            ]
            told = await asyncio.gather(*map(journal().finish, run_results), return_exceptions=True)
            return good, bad, told

        good, bad, told = self.in_loop(test, sound=False)
        self.assertIsInstance(told[0], Charge)
        self.assertIsInstance(told[1], Exception)
        self.assertEqual(Message.objects.get(pk=good.message_id).content, "kept")
        run = Run.objects.get(pk=bad.run_id)
        self.assertEqual((run.state, Message.objects.get(pk=bad.message_id).status), ("running", "in_progress"))
        services.interrupt(run)
        self.assertEqual(self.wrong(), [])

    def test_a_database_that_is_away_for_a_moment_costs_nobody_anything(self):
        real, failures = module._apply, iter(range(3))

        def flaky(cursor, batch):
            if batch.chunks or batch.results:
                for _ in failures:
                    raise OperationalError("gone")
            return real(cursor, batch)

        async def test():
            with mock.patch.object(module, "_apply", flaky):
                return await finished(question(self.alice, "Hi"))

        handle, events = self.in_loop(test)
        self.assertEqual([each.status for each in endings(events)], ["complete"])
        self.assertEqual(Message.objects.get(pk=handle.message_id).content, text_of(events))
        self.assertIsNone(next(failures, None))

    def test_a_database_that_stays_away_refuses_questions_and_keeps_nothing(self):
        def broken(cursor, batch):
            raise OperationalError("gone")

        async def test():
            with mock.patch.object(module, "_apply", broken), self.assertRaises(CompletionError) as caught:
                await services.submit(question(self.alice, "Hi"))
            # Afterwards the journal works again.
            _, events = await finished(question(self.bob, "Hi"))
            return caught.exception, events

        error, events = self.in_loop(test)
        self.assertEqual((error.status, error.code), (503, "storage_unavailable"))
        self.assertGreater(error.retry_after, 0)
        self.assertEqual(len(endings(events)), 1)
        self.assertFalse(Run.objects.filter(user=self.alice).exists())

    def test_text_that_cannot_be_stored_is_never_shown(self):
        real = module._apply

        def broken(cursor, batch):
            if batch.chunks:
                raise DatabaseError("no")
            return real(cursor, batch)

        async def test():
            with mock.patch.object(module, "_apply", broken):
                return await finished(question(self.alice, "Hi"))

        handle, events = self.in_loop(test, sound=False)
        self.assertEqual(text_of(events), "")
        self.assertEqual(len(endings(events)), 1)
        self.assertNotEqual(endings(events)[0].status, "complete")
        self.assertFalse(Chunk.objects.filter(run_id=handle.run_id).exists())

    def test_a_caller_who_left_while_it_was_stored_gets_an_answer_all_the_same(self):
        async def test():
            task = asyncio.create_task(services.submit(question(self.alice, "Hi")))
            await asyncio.sleep(0)
            task.cancel()
            # The journal works in order: once this one is accepted, the other one is, too.
            await finished(question(self.bob, "later"))
            run = await asyncio.to_thread(lambda: Run.objects.get(user=self.alice))
            return await follow(RunHandle(question(self.alice), run.pk, run.created_at))

        self.assertEqual([each.status for each in endings(self.in_loop(test))], ["complete"])

    def test_a_reader_sees_nothing_that_is_not_stored_yet(self):
        async def test():
            handle = await services.submit(question(self.alice, "word " * 40))
            async for event in subscribe(handle.run_id):
                if isinstance(event, Delta):
                    stored = await asyncio.to_thread(self.stored_end, handle.run_id)
                    self.assertGreaterEqual(stored, event.end)
            return handle

        with self.settings(ECHO_DELAY=0.002):
            self.in_loop(test)

    @staticmethod
    def stored_end(run_id: uuid.UUID) -> int:
        last = Chunk.objects.filter(run_id=run_id).order_by("-seq").first()
        return last.end if last else 0
