"""When a run goes on although its client left: the service drains, others read it, nobody can tell."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from unittest import mock

from django.db import OperationalError
from django.utils import timezone

from completions import leaving, queueing, services
from completions.models import Run
from completions.readers import subscribe, wait_for_end
from completions.run_requests import RunHandle
from completions.tests.asking import question
from completions.tests.committed import CommittedTestCase
from foundation.database import in_database_thread


class StopUnlessFollowedTest(CommittedTestCase):
    async def left(self, *, words: int = 20) -> str:
        """Ask, call the client gone, and return how the run ends."""
        handle = await services.submit(question(self.alice, "word " * words))
        await leaving.stop_unless_followed(handle.run_id)
        return (await wait_for_end(handle.run_id)).status

    def test_nobody_reads_it_so_it_stops(self):
        async def test():
            self.assertEqual(await self.left(words=2_000), "cancelled")

        with self.settings(ECHO_DELAY=0.005):
            self.in_loop(test)

    def test_while_the_service_drains_it_goes_on(self):
        async def test():
            with mock.patch.object(services, "_draining_since", None), mock.patch.object(queueing, "_paused", False):
                handle = await services.submit(question(self.alice, "word " * 20))
                services.drain()
                await leaving.stop_unless_followed(handle.run_id)
                self.assertEqual((await wait_for_end(handle.run_id)).status, "complete")

        self.in_loop(test)

    def test_when_the_database_cannot_tell_it_goes_on(self):
        async def test():
            with mock.patch.object(leaving, "_is_followed", side_effect=OperationalError):
                self.assertEqual(await self.left(), "complete")

        self.in_loop(test)

    def test_a_reader_here_counts_until_it_leaves(self):
        async def test():
            handle = await services.submit(question(self.alice, "word " * 2_000))
            async with contextlib.aclosing(subscribe(handle.run_id)) as events:
                await anext(events)
                await leaving.stop_unless_followed(handle.run_id)
                await anext(events)
                self.assertEqual(await in_database_thread(self.state, handle), "running")
            await leaving.stop_unless_followed(handle.run_id)
            self.assertEqual((await wait_for_end(handle.run_id)).status, "cancelled")

        with self.settings(ECHO_DELAY=0.005):
            self.in_loop(test)

    def test_a_reader_elsewhere_counts_for_as_long_as_its_note_holds(self):
        async def test():
            handle = await services.submit(question(self.alice, "word " * 2_000))
            await in_database_thread(leaving.note_follower, handle.run_id)
            await leaving.stop_unless_followed(handle.run_id)
            await asyncio.sleep(0.05)
            self.assertEqual(await in_database_thread(self.state, handle), "running")
            gone = timezone.now() - dt.timedelta(seconds=1)
            await in_database_thread(lambda: Run.objects.filter(pk=handle.run_id).update(followed_until=gone))
            await leaving.stop_unless_followed(handle.run_id)
            self.assertEqual((await wait_for_end(handle.run_id)).status, "cancelled")

        with self.settings(ECHO_DELAY=0.005):
            self.in_loop(test)

    def test_a_note_is_renewed_when_it_is_due_and_only_for_what_runs(self):
        async def test():
            handle = await services.submit(question(self.alice, "word " * 2_000))
            notes = []
            for _ in range(2):
                await in_database_thread(leaving.note_follower, handle.run_id)
                notes.append(await in_database_thread(self.followed_until, handle))
            self.assertEqual(notes[0], notes[1])
            await services.cancel(handle.run_id)
            await wait_for_end(handle.run_id)
            await in_database_thread(lambda: Run.objects.filter(pk=handle.run_id).update(followed_until=None))
            await in_database_thread(leaving.note_follower, handle.run_id)
            self.assertIsNone(await in_database_thread(self.followed_until, handle))

        with self.settings(ECHO_DELAY=0.005):
            self.in_loop(test)

    def state(self, handle: RunHandle) -> str:
        return Run.objects.get(pk=handle.run_id).state

    def followed_until(self, handle: RunHandle) -> dt.datetime | None:
        return Run.objects.get(pk=handle.run_id).followed_until
