"""A process dies or is stopped: its text is kept and marked. tests/chaos does this at random moments."""

from __future__ import annotations

import os
import signal
import threading
import time

import chatservice.testing as testing
from chatservice.testing import Service, ServiceTestCase, pause, wait_until
from completions.models import Run
from completions.run_requests import WhenBusy
from completions.tests.asking import accept_one, question, run_of
from completions.tests.invariants import invariants
from completions.tests.streaming import listening
from conversations.models import Message


class KillTest(ServiceTestCase):
    def setUp(self):
        super().setUp()
        # The shared service's reaper would do what the restarted process has to do in this test.
        shared = testing.shared_service()
        assert shared.process is not None
        pause(shared.process.pid)
        self.addCleanup(os.kill, shared.process.pid, signal.SIGCONT)

    def test_the_partial_answer_is_kept_and_marked_after_a_restart(self):
        service = Service().start()
        self.addCleanup(service.stop)
        with listening(self.alice, "fake/slow:20ms:2000", url=service.url) as stream:
            stream.until("token token token")
            service.kill()
            stream.rest()
        self.assertNotIn("[DONE]", stream.events)
        self.assertEqual(Run.objects.get(pk=stream.run_id).state, "running")
        service.start()
        wait_until(lambda: Run.objects.get(pk=stream.run_id).state == "interrupted", timeout=15, what="the mark")
        content = Message.objects.get(run=stream.run_id).content
        self.assertTrue(content.startswith(stream.text) and stream.text.startswith("token token token"))
        self.assertEqual(invariants([self.alice.user]), [])


class SurvivorTest(ServiceTestCase):
    def test_another_process_ends_the_runs_of_one_that_died_while_it_lives_itself(self):
        service = Service().start()
        self.addCleanup(service.stop)
        with listening(self.alice, "fake/stall:2", url=service.url) as stream:
            stream.until("lo")
            service.kill()
        wait_until(lambda: Run.objects.get(pk=stream.run_id).state == "interrupted", timeout=15, what="the mark")
        self.assertEqual(Message.objects.get(run=stream.run_id).content, "Hello")
        self.assertEqual(invariants([self.alice.user]), [])


class DrainTest(ServiceTestCase):
    def test_sigterm_lets_what_is_being_written_finish(self):
        service = Service(env={"DRAIN_SECONDS": "20"}).start()
        self.addCleanup(service.stop)
        with listening(self.alice, "fake/slow:20ms:60", url=service.url) as stream:
            stream.until("token")
            talk = Run.objects.get(pk=stream.run_id).conversation_id
            ask = question(self.alice.user, "Next", conversation_id=talk, when_busy=WhenBusy.QUEUE)
            waiting = accept_one(ask)
            stopping = threading.Thread(target=service.stop)
            stopping.start()
            stream.rest()
            stopping.join(40)
        self.assertEqual((stream.text, stream.events[-1]), ("token " * 60, "[DONE]"))
        # What waits is left to another process.
        wait_until(lambda: run_of(waiting).state == "complete", what="the next answer")
        self.assertNotEqual(run_of(waiting).worker, Run.objects.get(pk=stream.run_id).worker)
        self.assertEqual(Run.objects.get(pk=stream.run_id).state, "complete")
        self.assertEqual(invariants([self.alice.user]), [])

    def test_what_takes_longer_than_the_drain_is_marked_before_the_exit(self):
        service = Service(env={"DRAIN_SECONDS": "1"}).start()
        self.addCleanup(service.stop)
        with listening(self.alice, "fake/slow:20ms:3000", url=service.url) as stream:
            stream.until("token")
            began = time.monotonic()
            finished: list[int] = []
            stopping = threading.Thread(target=lambda: finished.append(service.stop()))
            stopping.start()
            stream.rest()
            stopping.join(40)
        self.assertLess(time.monotonic() - began, 1 + 5)
        self.assertEqual(Run.objects.get(pk=stream.run_id).state, "interrupted")
        self.assertEqual(Message.objects.get(run=stream.run_id).content, stream.text)
        assert stream.error is not None
        self.assertEqual((stream.error["code"], stream.events[-1]), ("interrupted", "[DONE]"))
        self.assertEqual(finished, [0], service.log())
        self.assertNotIn("Traceback", service.log())
        self.assertEqual(invariants([self.alice.user]), [])
