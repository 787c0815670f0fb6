"""The database goes away between the commit of a question and the request to the model's server."""

from __future__ import annotations

import asyncio
from unittest import mock

from django.db import OperationalError
from django.test import override_settings

from completions import runner, upstream_requests
from completions.models import Run
from completions.tests.asking import question
from completions.tests.committed import CommittedTestCase, endings, finished


class PreparationTest(CommittedTestCase):
    def ask(self, failures: int, *, seconds: float = 0.0) -> tuple[Run, list]:
        """Ask while the first reads for the request upstream fail, each after some seconds.

        Return the run and the ends of its stream.
        """
        real, left = upstream_requests.with_files, iter(range(failures))

        async def flaky(*arguments):
            for _ in left:
                await asyncio.sleep(seconds)
                raise OperationalError("gone")
            return await real(*arguments)

        async def test():
            with mock.patch.object(upstream_requests, "with_files", flaky), self.assertNoLogs(runner.logger, "ERROR"):
                return await finished(question(self.alice, "Hi"))

        handle, events = self.in_loop(test)
        return Run.objects.get(pk=handle.run_id), endings(events)

    def test_one_that_is_away_for_a_moment_costs_nobody_anything(self):
        run, ends = self.ask(failures=3)
        self.assertEqual((run.state, run.error_code), ("complete", ""))
        self.assertEqual([each.status for each in ends], ["complete"])

    def test_one_whose_silence_lasts_longer_than_a_lease_is_asked_once_more(self):
        with override_settings(LEASE_SECONDS=1.0, HEARTBEAT_SECONDS=0.2):
            run, ends = self.ask(failures=1, seconds=1.2)
        self.assertEqual((run.state, run.error_code), ("complete", ""))
        self.assertEqual([each.status for each in ends], ["complete"])

    def test_one_that_stays_away_interrupts_the_answer(self):
        with override_settings(LEASE_SECONDS=1.0):
            run, ends = self.ask(failures=1000)
        self.assertEqual((run.state, run.error_code), ("interrupted", "interrupted"))
        self.assertEqual([each.status for each in ends], ["interrupted"])
