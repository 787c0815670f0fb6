"""Commits with an unknown outcome are stored exactly once, without a gap; threads that hang for ever do no harm."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from unittest import mock

from django.db import OperationalError, connection

from chatservice.testing import wait_until
from completions import commits, services
from completions.commits import Attempt, Result
from completions.exceptions import StorageUnavailable
from completions.journal import oldest_wait
from completions.live import LIVE
from completions.models import Chunk, Run
from completions.readers import wait_for_end
from completions.run_requests import RunHandle
from completions.tests.asking import question
from completions.tests.committed import CommittedTestCase, endings, finished, follow, text_of
from completions.types import StreamStarted
from conversations.models import Message
from foundation.database import in_database_thread

SECONDS = 1.0
HELLO = "Hello there, this is to be said in several pieces."


def says_something(attempt: Attempt) -> bool:
    return bool(attempt.batch.requests or attempt.batch.chunks or attempt.batch.results)


class DoubtTest(CommittedTestCase):
    def broken(self, breaks: Callable[[Attempt], bool], *, stored: bool) -> mock._patch:
        """Lose the connection at the commit of each batch selected by `breaks`, on its first attempt only."""
        real_run, real_begin = Attempt.run, Attempt._begin_commit
        seen: list[object] = []

        def run(attempt: Attempt, seconds: float) -> Result:
            if not breaks(attempt) or attempt.batch in seen:
                return real_run(attempt, seconds)
            seen.append(attempt.batch)
            if stored:
                real_run(attempt, seconds)
                raise OperationalError("lost after the commit")

            def begin(attempt: Attempt) -> None:
                real_begin(attempt)
                raise OperationalError("lost before the commit")

            with mock.patch.object(Attempt, "_begin_commit", begin):
                return real_run(attempt, seconds)

        self.seen = seen
        return mock.patch.object(Attempt, "run", run)

    def test_what_was_committed_is_found_and_gone_on_with(self):
        async def test():
            with self.broken(says_something, stored=True):
                return await finished(question(self.alice, HELLO))

        handle, events = self.in_loop(test)
        self.assertGreaterEqual(len(self.seen), 2)  # at least the question, and its end
        self.assertEqual([each.status for each in endings(events)], ["complete"])
        self.assertEqual(Message.objects.get(pk=handle.message_id).content, text_of(events))
        self.assertEqual(Run.objects.filter(user=self.alice).count(), 1)
        self.assertEqual(Message.objects.filter(conversation__owner=self.alice, role="user").count(), 1)

    def test_what_was_not_committed_is_stored_again_and_its_question_refused(self):
        async def test():
            refusing = self.assertRaises(StorageUnavailable)
            with self.broken(lambda attempt: bool(attempt.batch.requests), stored=False), refusing as refused:
                await services.submit(question(self.alice, HELLO))
            with self.broken(lambda attempt: says_something(attempt) and not attempt.batch.requests, stored=False):
                return refused.exception, await finished(question(self.bob, HELLO))

        refused, (handle, events) = self.in_loop(test)
        self.assertGreater(refused.retry_after, 0)
        self.assertFalse(Run.objects.filter(user=self.alice).exists())
        self.assertGreaterEqual(len(self.seen), 1)
        self.assertEqual([each.status for each in endings(events)], ["complete"])
        self.assertEqual(Message.objects.get(pk=handle.message_id).content, text_of(events))

    def test_a_run_that_was_taken_over_meanwhile_is_lost(self):
        def take_over(attempt: Attempt) -> bool:
            if not attempt.batch.results or attempt.batch in self.seen:
                return False
            services.interrupt(Run.objects.get(user=self.alice))
            return True

        async def test():
            with self.broken(take_over, stored=False):
                return await finished(question(self.alice, HELLO))

        _, events = self.in_loop(test)
        self.assertEqual([each.status for each in endings(events)], ["interrupted"])
        self.assertEqual(Run.objects.get(user=self.alice).state, "interrupted")

    def test_a_reader_gets_what_was_stored_of_a_run_that_its_process_lost(self):
        """The last commit arrived, but its process never heard of it, nor of the database before its lease was over."""
        real, is_away, texts = Attempt.run, threading.Event(), 0

        def run(attempt: Attempt, seconds: float) -> Result:
            nonlocal texts
            if is_away.is_set():
                raise OperationalError("away")
            texts += bool(attempt.batch.chunks)
            result = real(attempt, seconds)
            if texts == 2:
                is_away.set()
                raise OperationalError("lost after the commit")
            return result

        async def test():
            with mock.patch.object(Attempt, "run", run):
                handle = await services.submit(question(self.alice, HELLO * 20))
                reading = asyncio.create_task(follow(handle))
                while handle.run_id in LIVE:
                    await asyncio.sleep(0.02)
            await in_database_thread(wait_until, lambda: services.reap() or self.is_over(handle))
            return handle, await reading

        with self.settings(LEASE_SECONDS=1.5, HEARTBEAT_SECONDS=0.3, ECHO_DELAY=0.03):
            handle, events = self.in_loop(test)
        self.assertEqual([each.status for each in endings(events)], ["interrupted"])
        self.assertEqual([type(each) for each in events].count(StreamStarted), 1)
        self.assertEqual(text_of(events), Message.objects.get(pk=handle.message_id).content)
        self.assertEqual(Chunk.objects.filter(run_id=handle.run_id).count(), 2)

    def is_over(self, handle: RunHandle) -> bool:
        return Run.objects.get(pk=handle.run_id).is_over


class HungThreadTest(CommittedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.release = threading.Event()
        self.hung: list[Attempt] = []
        self.addCleanup(self.when_released)
        limit = mock.patch.object(commits, "SECONDS", SECONDS)
        limit.start()
        self.addCleanup(limit.stop)

    def hanging(
        self, hangs: Callable[[Attempt], bool], *, at_commit: bool = False, always: bool = False
    ) -> mock._patch:
        """Make the attempts selected by `hangs` wait for `release`: each batch's first attempt, or all if `always`."""
        name = "_begin_commit" if at_commit else "_found"
        real = getattr(Attempt, name)

        def wait(attempt: Attempt, *arguments: object) -> object:
            # Hang before the commit is sent or, as a connection may, after it was sent.
            result = real(attempt, *arguments) if at_commit else None
            if hangs(attempt) and (always or not any(each.batch is attempt.batch for each in self.hung)):
                self.hung.append(attempt)
                self.release.wait(20)
            return result if at_commit else real(attempt, *arguments)

        return mock.patch.object(Attempt, name, wait)

    def when_released(self) -> None:
        self.release.set()
        wait_until(lambda: not any(t.name.startswith("journal") for t in threading.enumerate()), what="its end")

    def test_a_thread_that_hangs_is_left_behind_and_stores_nothing_when_it_wakes(self):
        if connection.vendor == "sqlite":
            self.skipTest("a thread that hangs inside a transaction has the file's lock")

        async def test():
            with self.hanging(says_something):
                return await finished(question(self.alice, HELLO))

        handle, events = self.in_loop(test)
        self.assertEqual([each.status for each in endings(events)], ["complete"])
        before = list(Chunk.objects.filter(run_id=handle.run_id).values_list("seq", "end"))
        self.when_released()
        self.assertGreaterEqual(len(self.hung), 2)
        self.assertEqual(list(Chunk.objects.filter(run_id=handle.run_id).values_list("seq", "end")), before)
        self.assertEqual(Run.objects.filter(user=self.alice).count(), 1)
        self.assertEqual(Message.objects.get(pk=handle.message_id).content, text_of(events))

    def test_a_question_that_turns_up_after_it_was_refused_ends_and_its_key_finds_it(self):
        if connection.vendor == "sqlite":
            self.skipTest("a thread that hangs inside a transaction has the file's lock")
        asked = question(self.alice, HELLO, idempotency_key="again", fingerprint="f")
        # As before PostgreSQL 17, which would end the transaction and leave nothing to turn up.
        unlimited = mock.patch.object(commits, "limit_transactions")

        async def test():
            with self.hanging(lambda attempt: bool(attempt.batch.requests), at_commit=True), unlimited:
                with self.assertRaises(StorageUnavailable):
                    await services.submit(asked)
                await in_database_thread(self.when_stored)
                return await services.submit(asked)

        with self.settings(LEASE_SECONDS=3.0):
            again = self.in_loop(test, sound=False)
            run = Run.objects.get(user=self.alice)
            self.assertEqual((again.attached, again.run_id), (True, run.pk))
            wait_until(lambda: services.reap() or Run.objects.get(pk=run.pk).state != "running", what="its lease's end")
        self.assertEqual(Run.objects.get(pk=run.pk).state, "interrupted")
        self.assertEqual(self.wrong(), [])

    def when_stored(self) -> None:
        self.release.set()
        wait_until(lambda: Run.objects.filter(user=self.alice).exists(), what="the late commit")

    def test_threads_that_never_come_back_are_few_and_questions_are_refused_in_time(self):
        async def test():
            with self.hanging(lambda attempt: True, always=True):
                began = asyncio.get_running_loop().time()
                results = await asyncio.gather(
                    *(services.submit(question(self.alice, str(n))) for n in range(5)), return_exceptions=True
                )
                took = asyncio.get_running_loop().time() - began
                waited = oldest_wait()
                self.release.set()
                await self.stored_again()
            return results, took, waited

        with self.settings(LEASE_SECONDS=3.0):
            results, took, waited = self.in_loop(test)
        self.assertEqual({type(each) for each in results}, {StorageUnavailable})
        self.assertLess(took, 10)
        self.assertGreater(waited, 0)

    async def stored_again(self) -> None:
        async with asyncio.timeout(10):
            while oldest_wait():
                await asyncio.sleep(0.02)


class OutageTest(CommittedTestCase):
    def test_what_waits_is_retried_together(self):
        """In parallel: ten runs in turn would take ten times as long, and their leases would expire."""
        real, tried = commits._apply, []

        def away(cursor, batch):
            if batch.chunks or batch.results:
                tried.append(len(batch.run_ids()))
                if len(tried) <= 3:
                    raise OperationalError("gone")
            return real(cursor, batch)

        async def test():
            runs = [finished(question(self.alice, f"word{n}")) for n in range(10)]
            with mock.patch.object(commits, "_apply", away):
                return await asyncio.gather(*runs)

        for _, events in self.in_loop(test):
            self.assertEqual([each.status for each in endings(events)], ["complete"])
        self.assertEqual(len(set(tried[:4])), 1, tried)  # the same batch, four times
        self.assertGreater(tried[0], 1)

    def test_an_outage_longer_than_a_lease_ends_every_run(self):
        real = commits._apply
        away = threading.Event()

        def broken(cursor, batch):
            if away.is_set():
                raise OperationalError("gone")
            return real(cursor, batch)

        async def test():
            with mock.patch.object(commits, "_apply", broken):
                handle = [await services.submit(question(self.alice, "word " * 500)) for _ in range(3)]
                away.set()
                async with asyncio.timeout(15):
                    reaped = in_database_thread(wait_until, all_reaped)  # as in every process: only the journal is away
                    *ends, _ = await asyncio.gather(*(wait_for_end(each.run_id) for each in handle), reaped)
                self.assertGreater(oldest_wait(), 0)
                away.clear()
                async with asyncio.timeout(10):
                    while oldest_wait():
                        await asyncio.sleep(0.02)
            return handle, ends

        def all_reaped() -> bool:
            services.reap()
            return not Run.objects.running().filter(user=self.alice).exists()

        with self.settings(LEASE_SECONDS=2.0, ECHO_DELAY=0.02):
            handle, ends = self.in_loop(test, sound=False)
        self.assertEqual([each.status for each in ends], ["interrupted"] * 3)
        self.assertEqual(self.wrong(), [])
