"""kill -9 at any moment: what was acknowledged is there, what was shown is stored, nothing goes on for ever."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import uuid
from dataclasses import dataclass, field

import httpx2

import chatservice.testing as testing
from chatservice.testing import Person, Service, ServiceTestCase, make_person, wait_until
from completions.models import Run
from completions.tests.invariants import invariants
from completions.tests.streaming import listening
from conversations.models import Message

# More of the same for a long night: DURABILITY_ROUNDS=200.
ROUNDS = int(os.environ.get("DURABILITY_ROUNDS", "3"))
POSTERS = 6
MODELS = ("fake/slow:5ms:30", "fake/ok", "echo", "fake/slow:20ms:400")


@dataclass
class Seen:
    """What a client saw of one answer before the line went dead."""

    question: str
    run_id: uuid.UUID
    message_id: uuid.UUID
    text: str = ""
    done: bool = False


@dataclass
class Poster:
    """Asks one question after the other, streamed and not, until the service is gone."""

    person: Person
    url: str
    seen: list[Seen] = field(default_factory=list)

    def run(self) -> None:
        for number in range(10_000):
            try:
                self.ask(f"{self.person.user.username} asks {number}")
            except httpx2.HTTPError:
                return

    def ask(self, text: str) -> None:
        with listening(self.person, random.choice(MODELS), url=self.url, text=text) as stream:
            seen = Seen(text, stream.run_id, uuid.UUID(stream.response.headers["x-message-id"]))
            self.seen.append(seen)
            try:
                stream.rest()
            finally:
                seen.text, seen.done = stream.text, "[DONE]" in stream.events


class KillTest(ServiceTestCase):
    def setUp(self):
        super().setUp()
        # Its reaper would do the work that the restarted process is to be seen doing.
        shared = testing.shared_service()
        assert shared.process is not None
        os.kill(shared.process.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, shared.process.pid, signal.SIGCONT)

    def test_nothing_acknowledged_or_shown_is_lost_whenever_it_dies(self):
        service = Service()
        self.addCleanup(service.stop)
        people = [make_person(f"poster{n}", url=service.url) for n in range(POSTERS)]
        posters = [Poster(person, service.url) for person in people]
        for _ in range(ROUNDS):
            service.start()
            threads = [threading.Thread(target=poster.run) for poster in posters]
            for thread in threads:
                thread.start()
            wait_until(lambda: sum(len(poster.seen) for poster in posters) >= POSTERS, what="answers on their way")
            time.sleep(random.uniform(0.05, 1.0))
            service.kill()
            for thread in threads:
                thread.join(20)
            self.assertFalse(any(thread.is_alive() for thread in threads))
        service.start()
        began = time.monotonic()
        users = [person.user for person in people]
        wait_until(lambda: not Run.objects.running().filter(user__in=users).exists(), what="no orphan")
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual(invariants(users), [])
        seen = [each for poster in posters for each in poster.seen]
        self.assertGreater(len(seen), POSTERS)
        for each in seen:
            self.check(each)
        interrupted = Run.objects.filter(user__in=users, state="interrupted")
        self.assertTrue(interrupted.exists(), "no run was caught in the middle: the test proves nothing")
        for person in people:
            person.http.close()

    def check(self, seen: Seen) -> None:
        answer = Message.objects.select_related("parent", "run").get(pk=seen.message_id)
        assert answer.parent is not None
        self.assertEqual(answer.parent.content, seen.question)
        self.assertTrue(answer.content.startswith(seen.text), (answer.content[:80], seen.text[:80]))
        if seen.done:
            self.assertEqual((answer.status, answer.content), ("complete", seen.text))
        self.assertIn(answer.status, ("complete", "interrupted"))

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
            stopping = threading.Thread(target=service.stop)
            stopping.start()
            stream.rest()
            stopping.join(40)
        self.assertEqual((stream.text, stream.events[-1]), ("token " * 60, "[DONE]"))
        self.assertEqual(Run.objects.get(pk=stream.run_id).state, "complete")
        self.assertEqual(invariants([self.alice.user]), [])

    def test_what_takes_longer_than_the_drain_is_marked_before_the_exit(self):
        service = Service(env={"DRAIN_SECONDS": "1"}).start()
        self.addCleanup(service.stop)
        with listening(self.alice, "fake/slow:20ms:3000", url=service.url) as stream:
            stream.until("token")
            began = time.monotonic()
            ended: list[int] = []
            stopping = threading.Thread(target=lambda: ended.append(service.stop()))
            stopping.start()
            stream.rest()
            stopping.join(40)
        self.assertLess(time.monotonic() - began, 1 + 5)
        self.assertEqual(Run.objects.get(pk=stream.run_id).state, "interrupted")
        self.assertEqual(Message.objects.get(run=stream.run_id).content, stream.text)
        assert stream.error is not None
        self.assertEqual((stream.error["code"], stream.events[-1]), ("interrupted", "[DONE]"))
        self.assertEqual(ended, [0], service.log())
        self.assertNotIn("Traceback", service.log())
        self.assertEqual(invariants([self.alice.user]), [])
