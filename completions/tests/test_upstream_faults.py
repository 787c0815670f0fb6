"""Whatever an upstream does, a client of the OpenAI surface gets exactly one ending, and it is the stored one."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
from django.db import connections

from chatservice.testing import Service, ServiceTestCase, fake_upstreams, running_service, tried_once
from completions.models import Run
from completions.tests.certificates import self_signed
from completions.tests.invariants import invariants
from completions.tests.streaming import URL, body_of, listening
from completions.tests.upstream import FaultyUpstream
from completions.tests.upstream_cases import CASES, ERROR, HUGE, RATE, TIMEOUT, TRUNCATED, Case, nowhere
from completions.tests.upstream_wire import KEY_IN_ERROR
from conversations.models import Message

PROMPT = "prompt-canary-4711"
CANARIES = ("sk-upstream-secret-canary", KEY_IN_ERROR, PROMPT, "wör")
RUN_SECONDS = 10

CLASSES: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    502: openai.InternalServerError,
    504: openai.InternalServerError,
}


@tried_once
class FaultTest(ServiceTestCase):
    faulty: Service

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # At every level: what must never be logged must not be logged at DEBUG, either.
        env = {
            "FIRST_BYTE_SECONDS": "3",
            "IDLE_SECONDS": "2",
            "RUN_SECONDS": str(RUN_SECONDS),
            "LOG_LEVEL": "DEBUG",
        }
        directory = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        untrusted = cls.enterClassContext(FaultyUpstream(tls=self_signed(directory)[1]))
        env["UPSTREAMS"] = json.dumps(json.loads(fake_upstreams()) | nowhere(untrusted.base_url))
        cls.faulty = cls.enterClassContext(running_service(**env))

    def tearDown(self):
        self.assertEqual(invariants([self.alice.user]), [])
        log = self.faulty.log()
        for canary in (*CANARIES, self.alice.secret):
            self.assertNotIn(canary, log)
        super().tearDown()

    def each(self, check: Any) -> None:
        """Check all cases, some of them in parallel, and report all failures."""
        self.alice  # noqa: B018  made here, not by four threads
        with ThreadPoolExecutor(12) as threads:
            wrong = [text for text in threads.map(lambda case: self.outcome(check, case), CASES) if text]
        self.assertEqual("\n".join(wrong), "")

    def outcome(self, check: Any, case: Case) -> str:
        began = time.monotonic()
        try:
            check(case)
            assert time.monotonic() - began < RUN_SECONDS + 5, "it hung"
        except Exception as error:
            return f"{case.behaviour}: {type(error).__name__} {error}"
        finally:
            connections.close_all()
        return ""

    def check_error(self, error: dict[str, Any], code: str) -> None:
        assert set(error) == {"message", "type", "param", "code"}, error
        assert error["code"] in code.split(" "), (error["code"], code)
        assert error["message"] and not any(canary in str(error) for canary in CANARIES), error

    def check_stored(self, run: Run, code: str, text: str) -> None:
        message = Message.objects.get(run=run)
        assert (run.state, message.status) == ("failed" if code else "complete",) * 2, (run.state, message.status)
        assert run.error_code in code.split(" "), (run.error_code, code)
        assert message.content == text, message.content[:200]

    def test_a_stream_has_one_ending_and_the_partial_text_is_kept(self):
        def check(case: Case) -> None:
            code, status, text = case.streamed
            with listening(self.alice, case.model, url=self.faulty.url, text=PROMPT) as stream:
                if not text and code:
                    stream.response.read()
                    assert stream.response.status_code == status, (stream.response.status_code, stream.response.text)
                    self.check_error(stream.response.json()["error"], code)
                else:
                    stream.rest()
                    assert stream.response.status_code == 200
                    assert stream.text == text, stream.text[:200]
                    kinds = Counter(self.kind(event) for event in stream.events)
                    assert kinds["[DONE]"] == 1 and stream.events[-1] == "[DONE]", kinds
                    choices = 2 if case.behaviour == "far-choice" else 1
                    assert (kinds["error"], kinds["finish"]) == ((1, 0) if code else (0, choices)), kinds
                    if stream.error:
                        self.check_error(stream.error, code)
            self.check_stored(Run.objects.get(pk=stream.run_id), code, text)

        self.each(check)

    @staticmethod
    def kind(event: Any) -> str:
        if not isinstance(event, dict):
            return str(event)
        if "error" in event:
            return "error"
        return "finish" if any(choice.get("finish_reason") for choice in event["choices"]) else "text"

    def test_an_answer_in_one_piece_is_whole_or_an_error(self):
        def check(case: Case) -> None:
            code, status = case.whole
            body = body_of(case.model, PROMPT)
            response = self.alice.http.post(self.faulty.url + URL, json=body)
            assert response.status_code == status, (response.status_code, response.text[:300])
            run = Run.objects.get(pk=response.headers["x-run-id"])
            if code:
                self.check_error(response.json()["error"], code)
                assert response.headers.get("x-should-retry", "false") in ("true", "false")
            else:
                assert (response.json()["choices"][0]["message"]["content"] or "") == case.streamed[2]
            # A stream that nobody asked for is told whole or not at all, and what was not told is not kept.
            self.check_stored(run, code, "" if code else case.streamed[2])

        self.each(check)

    def test_however_much_an_upstream_sends_little_of_it_is_held(self):
        before = self.memory("VmRSS")
        for behaviour in HUGE:
            for stream in (True, False):
                body = body_of(f"fake/{behaviour}", PROMPT, stream=stream)
                response = self.alice.http.post(self.faulty.url + URL, json=body)
                self.assertLess(len(response.content), 8 << 20)
                self.assertIn(Run.objects.get(pk=response.headers["x-run-id"]).state, ("failed", "complete"), behaviour)
        self.assertLess(self.memory("VmHWM") - before, 128 << 10, "KiB")

    def memory(self, name: str) -> int:
        """KiB of memory of the service's process, now (VmRSS) or at its peak (VmHWM)."""
        assert self.faulty.process is not None
        status = Path(f"/proc/{self.faulty.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])

    def test_the_official_client_raises_what_it_raises_for_openai(self):
        client = openai.OpenAI(base_url=f"{self.faulty.url}/v1", api_key=self.alice.secret, max_retries=0)
        self.addCleanup(client.close)
        asked: list[Any] = [{"role": "user", "content": PROMPT}]
        for behaviour, status, code in (
            ("context-length", 400, "context_length_exceeded"),
            ("unheard-of", 404, "model_not_found"),
            ("409", 409, "some_code"),
            ("422", 422, "some_code"),
            ("429:100", 429, RATE),
            ("500", 502, ERROR),
            ("408", 504, TIMEOUT),
        ):
            for stream in (False, True):
                with self.assertRaises(CLASSES[status], msg=behaviour) as caught:
                    client.chat.completions.create(model=f"fake/{behaviour}", messages=asked, stream=stream)
                self.assertEqual((caught.exception.status_code, caught.exception.code), (status, code))
                self.assertTrue(caught.exception.request_id)
        with self.assertRaises(openai.APIError) as broken:
            for _ in client.chat.completions.create(model="fake/truncated:eof", messages=asked, stream=True):
                pass
        self.assertEqual(broken.exception.code, TRUNCATED)

    def test_the_wait_an_upstream_asks_for_reaches_the_client(self):
        response = self.alice.http.post(self.faulty.url + URL, json=body_of("fake/429:100"))
        self.assertEqual((response.headers["retry-after"], response.headers["x-should-retry"]), ("100", "true"))
