"""Whatever an upstream does, a client of the OpenAI surface hears one ending, and it is the one that is stored."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import openai
from django.db import connections

from chatservice.testing import Service, ServiceTestCase
from completions.models import Run
from completions.tests.invariants import invariants
from completions.tests.streaming import URL, body_of, listening
from completions.tests.upstream_wire import KEY_IN_ERROR, TEXT
from conversations.models import Message

HEL = "Hello"
PROMPT = "prompt-canary-4711"
CANARIES = ("sk-upstream-secret-canary", KEY_IN_ERROR, PROMPT, "wör")


class Case(NamedTuple):
    """A behaviour, streamed and not: (stored code, HTTP status of an answer without text, partial text)."""

    behaviour: str
    streamed: tuple[str, int, str]
    whole: tuple[str, int]


OK = ("", 200)
INVALID, TRUNCATED, ERROR = "upstream_invalid", "upstream_truncated", "upstream_error"
UNREACHABLE, STALLED, TIMEOUT = "upstream_unreachable", "upstream_stalled", "upstream_timeout"
LIMIT, UNAUTHORIZED, RATE = "output_limit", "upstream_unauthorized", "upstream_rate_limited"

CASES = [
    Case("ok", ("", 200, TEXT), OK),
    *(Case(name, ("", 200, TEXT), (INVALID, 502)) for name in ("finish-then-open", "done-then-open", "done-then-more")),
    *(Case(name, ("", 200, TEXT), (INVALID, 502)) for name in ("finish-no-done", "crlf", "sse-200", "usage-missing")),
    Case("json-200", ("", 200, TEXT), OK),
    Case("401", (UNAUTHORIZED, 502, ""), (UNAUTHORIZED, 502)),
    Case("402", (UNAUTHORIZED, 502, ""), (UNAUTHORIZED, 502)),
    Case("403", (UNAUTHORIZED, 502, ""), (UNAUTHORIZED, 502)),
    Case("404", ("some_code", 404, ""), ("some_code", 404)),
    Case("408", (TIMEOUT, 504, ""), (TIMEOUT, 504)),
    Case("409", ("some_code", 409, ""), ("some_code", 409)),
    Case("422", ("some_code", 422, ""), ("some_code", 422)),
    Case("429:100", (RATE, 429, ""), (RATE, 429)),
    Case("500", (ERROR, 502, ""), (ERROR, 502)),
    Case("502", (ERROR, 502, ""), (ERROR, 502)),
    Case("503", (ERROR, 502, ""), (ERROR, 502)),
    Case("context-length", ("context_length_exceeded", 400, ""), ("context_length_exceeded", 400)),
    Case("unheard-of", ("model_not_found", 404, ""), ("model_not_found", 404)),
    *(Case(name, (INVALID, 502, ""), (INVALID, 502)) for name in ("redirect", "html-200", "gzip-bomb")),
    Case("error-200", (ERROR, 502, ""), (ERROR, 502)),
    Case("html:500", (ERROR, 502, ""), (ERROR, 502)),
    Case("refuse", (UNREACHABLE, 502, ""), (UNREACHABLE, 502)),
    Case("reset", (UNREACHABLE, 502, ""), (UNREACHABLE, 502)),
    Case("reset:2", (TRUNCATED, 200, HEL), (INVALID, 502)),
    *(Case(f"truncated:{how}", (TRUNCATED, 200, HEL), (INVALID, 502)) for how in ("eof", "cut", "done")),
    Case("no-first-byte", (TIMEOUT, 504, ""), (TIMEOUT, 504)),
    Case("headers-then-hang", (TIMEOUT, 504, ""), (INVALID, 502)),
    Case("stall", (STALLED, 200, HEL), (INVALID, 502)),
    Case("comments-forever", (STALLED, 200, HEL), (INVALID, 502)),
    *(Case(f"data:{value}", (INVALID, 200, HEL), (INVALID, 502)) for value in ("null", "[]", '"x"')),
    *(Case(name, (INVALID, 200, HEL), (INVALID, 502)) for name in ("malformed", "number-content")),
    Case("error-event", (ERROR, 200, HEL), (INVALID, 502)),
    Case("error-mid-stream", (ERROR, 200, HEL), (INVALID, 502)),
    Case("finish-error", (ERROR, 200, HEL), (INVALID, 502)),
    Case("huge-body", (LIMIT, 502, ""), (LIMIT, 502)),
    Case('data:{"choices"=[{"index"=0,"delta"={"tool_calls"=[1]}}]}', ("", 200, HEL), (INVALID, 502)),
]
CLASSES: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    502: openai.InternalServerError,
    504: openai.InternalServerError,
}


class FaultTest(ServiceTestCase):
    faulty: Service

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Every level of log: what is never said is not said at DEBUG either.
        env = {"FIRST_BYTE_SECONDS": "1.0", "IDLE_SECONDS": "0.7", "RUN_SECONDS": "8", "LOG_LEVEL": "DEBUG"}
        cls.faulty = Service(env=env)
        cls.addClassCleanup(cls.faulty.stop)
        cls.faulty.start()

    def tearDown(self):
        self.assertEqual(invariants([self.alice.user]), [])
        log = self.faulty.log()
        for canary in (*CANARIES, self.alice.secret):
            self.assertNotIn(canary, log)
        super().tearDown()

    def each(self, check: Any) -> None:
        """Check all cases, some at once, and tell all that fail."""
        self.alice  # noqa: B018  made here, not by four threads
        with ThreadPoolExecutor(4) as threads:
            wrong = [text for text in threads.map(lambda case: self.outcome(check, case), CASES) if text]
        self.assertEqual(wrong, [])

    def outcome(self, check: Any, case: Case) -> str:
        try:
            check(case)
        except Exception as error:
            return f"{case.behaviour}: {type(error).__name__} {error}"
        finally:
            connections.close_all()
        return ""

    def check_error(self, error: dict[str, Any], code: str) -> None:
        assert set(error) == {"message", "type", "param", "code"}, error
        assert error["code"] == code, (error["code"], code)
        assert error["message"] and not any(canary in str(error) for canary in CANARIES), error

    def check_stored(self, run: Run, code: str, text: str) -> None:
        message = Message.objects.get(pk=run.message_id)
        wanted = ("failed" if code else "complete", code, text)
        assert (run.state, run.error_code, message.content) == wanted, (run.state, run.error_code, message.content)

    def test_a_stream_has_one_ending_and_the_partial_text_is_kept(self):
        def check(case: Case) -> None:
            code, status, text = case.streamed
            with listening(self.alice, f"fake/{case.behaviour}", url=self.faulty.url, text=PROMPT) as stream:
                if not text:
                    stream.response.read()
                    assert stream.response.status_code == status, (stream.response.status_code, stream.response.text)
                    self.check_error(stream.response.json()["error"], code)
                else:
                    stream.rest()
                    assert stream.response.status_code == 200
                    assert stream.text == text, stream.text
                    kinds = Counter(self.kind(event) for event in stream.events)
                    assert kinds["[DONE]"] == 1 and stream.events[-1] == "[DONE]", kinds
                    assert (kinds["error"], kinds["finish"]) == ((1, 0) if code else (0, 1)), kinds
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
            body = body_of(f"fake/{case.behaviour}", PROMPT)
            response = self.alice.http.post(self.faulty.url + URL, json=body)
            assert response.status_code == status, (response.status_code, response.text[:300])
            run = Run.objects.get(pk=response.headers["x-run-id"])
            if code:
                self.check_error(response.json()["error"], code)
                assert response.headers.get("x-should-retry", "false") in ("true", "false")
            else:
                assert response.json()["choices"][0]["message"]["content"] == TEXT
            self.check_stored(run, code, "" if code else TEXT)

        self.each(check)

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
