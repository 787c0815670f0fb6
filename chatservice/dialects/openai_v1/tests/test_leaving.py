"""Leaving means stop on OpenAI's wire, whose clients cannot come back; but never for others who read the answer."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from openai import OpenAI

from chatservice.testing import ServiceTestCase, needs_dialect, running_service, tried_once, wait_until
from completions.models import Run
from completions.tests.invariants import invariants
from completions.tests.streaming import URL, body_of, listening
from conversations.models import Message

READ_FOR_EVER = """
import sys
from urllib.request import Request, urlopen
url, body, key = sys.argv[1:]
urlopen(Request(url, body.encode(), {"Authorization": key, "Content-Type": "application/json"})).read()
"""


@tried_once
class LeavingTest(ServiceTestCase):
    def state(self) -> str:
        return Run.objects.filter(user=self.alice.user).latest("id").state

    def await_end(self, state: str) -> Message:
        wait_until(lambda: self.state() != "running", what="the end of the run")
        self.assertEqual(self.state(), state)
        self.assertEqual(invariants([self.alice.user]), [])
        return Message.objects.get(run__user=self.alice.user)

    def test_a_client_that_leaves_a_stream_stops_its_answer_which_keeps_its_text(self):
        with listening(self.alice, "fake/slow:20ms:2000") as stream:
            stream.until("token token")
            before = len(self.upstream.hangups)
        left = time.monotonic()
        self.assertTrue(self.upstream.wait_for_hangup(before + 1, timeout=5))
        self.assertLess((self.upstream.hangups[-1].hung_up or 0) - left, 1.0)
        self.assertTrue(self.await_end("cancelled").content.startswith("token token"))

    def test_reading_to_the_end_is_not_leaving(self):
        for stream in (True, False):
            with self.alice.http.stream("POST", URL, json=body_of("fake/ok", stream=stream)) as response:
                response.read()
            self.assertEqual(Run.objects.get(pk=response.headers["x-run-id"]).state, "complete")

    def test_the_official_client_that_gives_up_waiting_stops_its_answer(self):
        before = len(self.upstream.hangups)
        client = OpenAI(base_url=f"{self.service.url}/v1", api_key=self.alice.secret, max_retries=0, timeout=0.5)
        with client, self.assertRaises(Exception):  # noqa: B017 - whichever timeout it calls this
            client.chat.completions.create(model="fake/no-first-byte", messages=[{"role": "user", "content": "Hi"}])
        self.assertTrue(self.upstream.wait_for_hangup(before + 1, timeout=1.5))
        self.assertEqual(self.await_end("cancelled").content, "")

    def test_a_client_that_is_killed_has_left(self):
        for stream, model in ((True, "fake/stall"), (False, "fake/no-first-byte")):
            left, asked = len(self.upstream.hangups), len(self.upstream.posts)
            body = json.dumps(body_of(model, stream=stream))
            arguments = [f"{self.service.url}{URL}", body, f"Bearer {self.alice.secret}"]
            client = subprocess.Popen([sys.executable, "-c", READ_FOR_EVER, *arguments])
            while len(self.upstream.posts) == asked:
                self.assertIsNone(client.poll())
            client.kill()
            client.wait()
            self.assertTrue(self.upstream.wait_for_hangup(left + 1, timeout=1.5), stream)
            wait_until(lambda: self.state() == "cancelled", what="the end of the run")

    def test_an_answer_that_is_read_by_somebody_else_goes_on(self):
        needs_dialect("chat_v1")
        with running_service() as other:
            for url in (self.service.url, other.url):
                with listening(self.alice, "fake/slow:20ms:50") as stream:
                    stream.until("token")
                    follower = self.alice.http.stream("GET", f"{url}/v1/chat/runs/{stream.run_id}/stream")
                    response = self.enterContext(follower)
                    lines = response.iter_lines()
                    self.assertTrue(any("token" in line for line in lines))
                self.assertTrue(any("ai_complete" in line for line in lines), url)
                self.assertEqual(Run.objects.get(pk=stream.run_id).state, "complete")

    def test_of_two_requests_with_a_key_that_both_would_stop_it_the_last_one_does(self):
        headers = {"Idempotency-Key": "both", "X-On-Disconnect": "cancel"}
        with listening(self.alice, "fake/slow:20ms:2000", headers=headers) as last:
            last.until("token")
            with listening(self.alice, "fake/slow:20ms:2000", headers=headers) as first:
                first.until("token")
            last.until("token " * 20)
            self.assertEqual(self.state(), "running")
        self.await_end("cancelled")
