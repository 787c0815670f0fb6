"""Runs whose process died end as interrupted and keep their text; all others are left alone."""

from __future__ import annotations

import time

from completions import services
from completions.models import Chunk, Run
from completions.tests.asking import accept_one, question, run_of, store_text
from completions.tests.committed import CommittedTestCase
from completions.types import Delta
from completions.worker_identity import host_id, is_certainly_dead, worker_id
from conversations import digests
from conversations.models import Message

# No process has this id, because kernels only assign lower ones.
DEAD = f"{host_id()}:99999999:0123456789ab"
ELSEWHERE = "another-host-1234-1:17:0123456789ab"


class ReaperTest(CommittedTestCase):
    def orphan(self, *, worker: str, lease: float) -> Run:
        """A run with two stored chunks and no process."""
        handle = accept_one(question(self.alice, "Hi"))
        pieces = [(handle.run_id, Delta("Hel", (), 1, 3)), (handle.run_id, Delta("lo", (), 2, 5))]
        self.assertEqual(store_text(pieces), {handle.run_id})
        Run.objects.filter(pk=handle.run_id).update(worker=worker, lease_until=time.time() + lease)
        return run_of(handle)

    def assert_interrupted(self, run: Run) -> None:
        run.refresh_from_db()
        message = Message.objects.get(run=run)
        self.assertEqual((run.state, run.error_code, run.epoch), ("interrupted", "interrupted", 2))
        self.assertEqual((message.status, message.content), ("interrupted", "Hello"))
        self.assertEqual(self.wrong(), [])

    def test_a_dead_process_of_this_host_is_not_waited_for(self):
        run = self.orphan(worker=DEAD, lease=1000)
        services.reap()
        self.assert_interrupted(run)

    def test_a_process_elsewhere_keeps_its_runs_until_the_lease_is_over(self):
        run = self.orphan(worker=ELSEWHERE, lease=1000)
        services.reap()
        run.refresh_from_db()
        self.assertEqual(run.state, "running")
        Run.objects.filter(pk=run.pk).update(lease_until=time.time() - 1)
        services.reap()
        self.assert_interrupted(run)

    def test_a_run_of_a_living_process_that_forgot_it_runs_out_of_its_lease(self):
        run = self.orphan(worker=worker_id(), lease=-1)
        services.reap()
        self.assert_interrupted(run)

    def test_reaping_twice_changes_nothing_more(self):
        run = self.orphan(worker=DEAD, lease=1000)
        services.reap()
        first = Run.objects.filter(pk=run.pk).values().get()
        services.reap()
        self.assertEqual(Run.objects.filter(pk=run.pk).values().get(), first)

    def test_a_finished_run_is_never_touched(self):
        run = self.orphan(worker=DEAD, lease=-1)
        services.interrupt(run)
        Run.objects.filter(pk=run.pk).update(state="complete", error_code="", finish_reason="stop")
        Message.objects.filter(run=run).update(status="complete")
        services.reap()
        run.refresh_from_db()
        self.assertEqual(run.state, "complete")

    def test_a_run_that_kept_nothing_is_ended_too(self):
        handle = accept_one(question(self.alice, "Hi", store=False))
        Run.objects.filter(pk=handle.run_id).update(worker=DEAD)
        services.reap()
        self.assertEqual(run_of(handle).state, "interrupted")
        self.assertFalse(Chunk.objects.filter(run_id=handle.run_id).exists())

    def test_the_partial_answer_can_be_resent_and_is_found(self):
        run = self.orphan(worker=DEAD, lease=1000)
        services.reap()
        wires = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        chain = digests.chain(digests.root(self.alice.pk), wires)
        self.assertEqual(Message.objects.get(run=run).digest, chain[-1])

    def test_only_what_certainly_is_dead_is_called_so(self):
        self.assertTrue(is_certainly_dead(DEAD))
        self.assertTrue(is_certainly_dead(f"{worker_id().rpartition(':')[0]}:anotherlife0"))
        for worker in (worker_id(), ELSEWHERE, "", "x", f"{host_id()}:1:x", f"{host_id()}:no:x", "127.0.0.1"):
            self.assertFalse(is_certainly_dead(worker), worker)
