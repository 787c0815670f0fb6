"""Connections to the database go silent: nothing hangs for ever, nothing acknowledged is lost, stopping works."""

from __future__ import annotations

import signal
import threading
import time

import httpx2
import pytest
from django.db import connection

from chatservice import testing
from chatservice.testing import Service, ServiceTestCase, wait_until
from completions.models import Run
from completions.tests.silent_line import SilentLine
from tests.background_reader import Reading, ask

READER_SECONDS = 15.0
RECOVERY_SECONDS = 30.0
DRAIN = 1
ASK = {"content": "Hi", "model": "fake/numbered:50ms:400"}
LONG = {**ASK, "model": "fake/numbered:50ms:2000"}


@pytest.mark.timeout(180)
class SilentDatabaseTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        if connection.vendor != "postgresql":
            self.skipTest("a file has no connection that could go silent")
        self.line = SilentLine.before(testing.test_database_url(), 5432).__enter__()
        self.addCleanup(self.line.__exit__)
        self.own = Service(env={"DATABASE_URL": self.line.url, "DRAIN_SECONDS": str(DRAIN)}).start()
        self.addCleanup(self.own.kill)
        self.http = httpx2.Client(base_url=self.own.url, headers=self.alice.headers, timeout=60, trust_env=False)
        self.addCleanup(self.http.close)

    def ready(self) -> int:
        return self.http.get("/readyz").status_code

    def readers(self, asked: dict) -> list[Reading]:
        """Return readers that have received the beginning of an answer."""
        found = [Reading(self.http, asked) for _ in range(3)]
        for each in found:
            each.start()
        for each in found:
            self.assertTrue(each.begun.wait(20))
        return found

    def check_stored(self, reader: Reading, state: str) -> None:
        run = Run.objects.select_related("message").get(pk=reader.run_id)
        assert run.message is not None
        self.assertEqual(run.state, state)
        self.assertTrue(run.message.content.startswith(reader.said), "shown, and not stored")

    def test_connections_that_go_silent_are_replaced_and_answers_go_on(self) -> None:
        for silent in ({"up": False}, {"down": False}, {}):
            with self.subTest(silent=silent or "both"):
                readers = self.readers(ASK)
                self.assertGreater(self.line.silence(**silent), 0)
                began = time.monotonic()
                wait_until(lambda: self.ready() == 503, timeout=10, what="red readiness")
                wait_until(lambda: self.ready() == 200, timeout=RECOVERY_SECONDS, what="green readiness")
                again = ask(self.http)
                self.assertIn("ai_complete", again.text)
                self.assertLess(time.monotonic() - began, RECOVERY_SECONDS)
                for each in readers:
                    each.join(60)
                    self.assertEqual(each.frames[-1]["type"], "ai_complete", each.text[-500:])
                    self.assertEqual(each.frames[-1]["data"]["content"], each.said)
                    self.check_stored(each, "complete")
        self.assertNotIn("Traceback", self.own.log())

    def test_a_longer_silence_ends_answers_in_time_and_refuses_questions_until_it_is_over(self) -> None:
        readers = self.readers(LONG)
        self.line.silent_from_birth = True
        self.line.silence()
        began = time.monotonic()
        wait_until(lambda: self.ready() == 503, timeout=10, what="red readiness")
        refused = ask(self.http)
        self.assertEqual(refused.status_code, 503, refused.text)
        self.assertGreater(int(refused.headers["retry-after"]), 0)
        for each in readers:
            each.join(READER_SECONDS + 10)
            self.assertLess(each.ended_at - began, READER_SECONDS)
            self.assertEqual(each.frames[-1]["type"], "error", each.text[-500:])
        self.assertEqual(self.ready(), 503)
        over = time.monotonic()
        self.line.silent_from_birth = False
        self.line.cut()
        wait_until(lambda: self.ready() == 200, timeout=RECOVERY_SECONDS, what="green readiness")
        again = ask(self.http)
        self.assertIn("ai_complete", again.text)
        self.assertLess(time.monotonic() - over, RECOVERY_SECONDS)
        runs = Run.objects.filter(user=self.alice.user)
        wait_until(lambda: not runs.running().exists(), what="the end of every run")
        for each in readers:
            self.check_stored(each, "interrupted")
        log = self.own.log()
        self.assertNotIn("Traceback", log)
        self.assertEqual(log.count("the database does not answer"), 1, log)

    def test_a_stop_is_obeyed_while_everything_hangs(self) -> None:
        self.readers(LONG)
        self.line.silent_from_birth = True
        self.line.silence()
        hanging = [threading.Thread(target=self.list_quietly, daemon=True) for _ in range(20)]
        for each in hanging:
            each.start()
        wait_until(lambda: self.ready() == 503, timeout=15, what="red readiness")
        began = time.monotonic()
        assert self.own.process is not None
        self.own.process.send_signal(signal.SIGTERM)
        self.own.process.wait(DRAIN + 20)
        self.assertLess(time.monotonic() - began, DRAIN + 10)
        self.assertNotIn("Traceback", self.own.log())

    def list_quietly(self) -> None:
        try:
            self.http.get("/v1/chat/conversations", timeout=60)
        except httpx2.HTTPError:
            pass
