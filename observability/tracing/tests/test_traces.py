"""One answer is one trace, in one process and in two, without content; a collector that hangs delays nothing."""

from __future__ import annotations

import secrets
import statistics
import time
import uuid
from typing import Any, ClassVar

import httpx2
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from chatservice.testing import (
    KeptTablesTestCase,
    Service,
    fake_upstream,
    make_api_user,
    needs_dialect,
    running_service,
    tried_on,
    wait_until,
)
from chatservice.testing.sockets import Socket
from observability.tracing.tests.collector import Collector, Received

ASK, TALKS = "/v1/chat/completions", "/v1/chat/conversations"
MODEL, FAILING, HELD = "fake/metered:0:10", "fake/http-400", "fake/held"
CANARY = "hummingbird-canary"
ANSWER = {"accept", "commit", "answer"}
EXPORT_SECONDS = 1
WARNING = "opentelemetry.exporter"


def setUpModule() -> None:
    needs_dialect("chat_v1", "openai_v1", "websocket")


def new_traceparent() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


@tried_on("postgresql")
@pytest.mark.timeout(180)
class TracesTest(KeptTablesTestCase):
    """Two processes on one database: the first is behind no proxy, the second is behind one."""

    collector: ClassVar[Collector]
    first: ClassVar[Service]
    second: ClassVar[Service]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.collector = cls.enterClassContext(Collector())
        own = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": cls.collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_EXPORTER_OTLP_TIMEOUT": str(EXPORT_SECONDS),
        }
        named = "OTEL_RESOURCE_ATTRIBUTES"
        cls.first = cls.enterClassContext(running_service(**own, **{named: "service.instance.id=first"}))
        own |= {"TRUSTED_PROXIES": "1", "HTTPS": "false", named: "service.instance.id=second"}
        cls.second = cls.enterClassContext(running_service(**own))

    def setUp(self) -> None:
        super().setUp()
        self.upstream = fake_upstream()
        self.alice = make_api_user("alice", url=self.first.url)
        self.addCleanup(self.alice.http.close)
        self.elsewhere = httpx2.Client(
            base_url=self.second.url, headers=self.alice.headers, timeout=30, trust_env=False
        )
        self.addCleanup(self.elsewhere.close)

    def ask(self, http: httpx2.Client, model: str = MODEL, headers: dict[str, str] | None = None, **more: Any) -> str:
        """Ask and read the whole response; return the request's id."""
        body = {"model": model, "messages": [{"role": "user", "content": f"{CANARY} {uuid.uuid4()}"}], **more}
        return http.post(ASK, json=body, headers=headers or {}).headers["x-request-id"]

    def trace_of(self, request_id: str, names: set[str]) -> dict[str, Received]:
        """Return the spans of a request's trace by name, "commit" by its parent's."""

        def is_wanted(span: Received) -> bool:
            return span.attributes.get("chatservice.request.id") == request_id

        found = self.collector.trace_with(names, is_wanted)
        by_id = {span.id: span for span in found}
        commits = {f"commit of {by_id[span.parent].name}": span for span in found if span.name == "commit"}
        return {span.name: span for span in found if span.name != "commit"} | commits

    def test_an_answer_is_one_trace_that_continues_the_proxys(self) -> None:
        for stream in (True, False):
            given = new_traceparent()
            _, trace, parent, _ = given.split("-")
            forwarded = {"traceparent": given, "X-Forwarded-For": "203.0.113.9"}
            request_id = self.ask(self.elsewhere, headers=forwarded, stream=stream)
            found = self.trace_of(request_id, {f"POST {ASK}", f"chat {MODEL.removeprefix('fake/')}", *ANSWER})
            request, accept, answer = found[f"POST {ASK}"], found["accept"], found["answer"]
            [chat] = [span for name, span in found.items() if name.startswith("chat ") and span.parent == answer.id]
            with self.subTest(stream=stream):
                self.assertEqual({span.trace for span in found.values()}, {trace})
                self.assertEqual((request.parent, accept.parent, answer.parent), (parent, request.id, accept.id))
                self.assertEqual(found["commit of accept"].parent, accept.id)
                self.assertEqual(found["commit of answer"].parent, answer.id)
                self.assertEqual((request.kind, chat.kind), (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT))
                self.assertEqual(chat.events, ["first token"] if stream else [])
                self.assertLessEqual(accept.start, found["commit of accept"].start)
                self.assertLessEqual(chat.end, found["commit of answer"].end)
            self.assertEqual(request.attributes["http.route"], ASK)
            self.assertEqual(request.attributes["http.response.status_code"], 200)
            self.assertEqual(request.attributes["user.id"], str(self.alice.user.pk))
            self.assertEqual(answer.attributes["chatservice.run.state"], "complete")
            told = {name: value for name, value in chat.attributes.items() if name.startswith("gen_ai.")}
            self.assertTrue(told.pop("gen_ai.conversation.id"))
            self.assertGreater(told.pop("gen_ai.usage.input_tokens"), 0)
            self.assertEqual(
                told,
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "fake",
                    "gen_ai.request.model": "metered:0:10",
                    "gen_ai.response.model": "faulty",
                    "gen_ai.response.finish_reasons": ["stop"],
                    "gen_ai.usage.output_tokens": 10,
                },
            )
            sent = [post.headers.get("traceparent", "") for post in self.upstream.posts]
            self.assertIn(f"00-{trace}-{chat.id}-01", sent)
            logged = [line for line in self.second.log().splitlines() if trace in line]
            self.assertTrue(any('"run ended"' in line for line in logged), logged)

    def test_a_strangers_traceparent_is_not_continued(self) -> None:
        given = new_traceparent()
        request_id = self.ask(self.alice.http, headers={"traceparent": given, "X-Forwarded-For": "203.0.113.9"})
        found = self.trace_of(request_id, {f"POST {ASK}", *ANSWER})
        self.assertNotEqual(found["answer"].trace, given.split("-")[1])
        self.assertEqual(found[f"POST {ASK}"].parent, "")

    def test_what_is_not_sampled_by_the_proxy_is_not_told(self) -> None:
        given = new_traceparent()[:-2] + "00"
        self.ask(self.alice.http, headers={"traceparent": given})
        self.trace_of(self.ask(self.alice.http), ANSWER)  # which was made after it
        self.assertNotIn(given.split("-")[1], {span.trace for span in self.collector.spans.values()})

    def test_a_queued_answer_that_another_process_writes_is_in_the_trace_of_its_question(self) -> None:
        marker = f"begin {uuid.uuid4().hex} {CANARY}"
        body = {"content": marker, "model": HELD}
        with self.alice.http.stream("POST", f"{TALKS}/stream", json=body) as response:
            next(line for line in response.iter_lines() if "ai_chunk" in line)
            talk = response.headers["x-conversation-id"]
            path = f"{TALKS}/{talk}/messages"
            queued = self.elsewhere.post(path, json={"content": CANARY, "model": MODEL, "when_busy": "queue"})
            self.assertEqual(queued.status_code, 202, queued.text)
            self.upstream.release(marker)
        chat = f"chat {MODEL.removeprefix('fake/')}"
        found = self.trace_of(queued.headers["x-request-id"], {chat, *ANSWER})
        self.assertEqual(found["answer"].parent, found["accept"].id)
        where = {name: span.process for name, span in found.items()}
        self.assertEqual((where["accept"], where["answer"], where[chat]), ("second", "first", "first"))

    def test_a_socket_has_a_trace_for_each_answer(self) -> None:
        runs = []
        with Socket(self.first.websocket_url, additional_headers=self.alice.headers) as socket:
            for _ in range(2):
                frames = socket.ask(CANARY, model=MODEL)
                runs.append(next(frame["run_id"] for frame in frames if "run_id" in frame))
        traces = [
            self.collector.trace_with(
                {"chat metered:0:10", *ANSWER},
                lambda span, run=run: span.attributes.get("chatservice.run.id") == run,  # type: ignore[misc]
            )
            for run in runs
        ]
        self.assertEqual([trace[0].name for trace in traces], ["accept", "accept"])
        self.assertEqual(len({span.trace for trace in traces for span in trace}), 2)

    def test_failures_have_their_error_and_searches_their_time(self) -> None:
        request_id = self.ask(self.alice.http, FAILING)
        found = self.trace_of(request_id, {"chat http-400", *ANSWER})
        for name in ("chat http-400", "answer"):
            self.assertTrue(found[name].is_error, name)
            self.assertEqual(found[name].attributes["error.type"], "upstream_rejected")
        refused = self.ask(self.alice.http, MODEL, n=10_000)
        self.assertEqual(set(self.trace_of(refused, {f"POST {ASK}"})) - {"accept"}, {f"POST {ASK}"})
        response = self.alice.http.get("/v1/chat/search", params={"q": CANARY, "mode": "text"})
        found = self.trace_of(response.headers["x-request-id"], {"search"})
        self.assertEqual(found["search"].parent, found["GET /v1/chat/search"].id)
        self.assertEqual(found["search"].attributes, {"chatservice.search.mode": "text"})

    def test_no_span_holds_content_a_key_a_name_or_a_query(self) -> None:
        self.ask(self.alice.http)
        self.ask(self.alice.http, "fake/echo-body")
        missing = self.alice.http.get(f"/v1/{CANARY}?q={CANARY}", headers={"X-Canary": CANARY})
        self.trace_of(missing.headers["x-request-id"], {"GET"})
        self.trace_of(self.ask(self.alice.http), ANSWER)
        bodies = b"".join(self.collector.bodies)
        for secret in (CANARY, "canary", self.alice.secret, self.alice.user.username, "Bearer", "203.0.113.9"):
            self.assertNotIn(secret.encode(), bodies, secret)

    def test_probes_have_no_spans(self) -> None:
        for path in ("/healthz", "/readyz"):
            request_id = self.alice.http.get(path).headers["x-request-id"]
            self.trace_of(self.ask(self.alice.http), ANSWER)
            known = {span.attributes.get("chatservice.request.id") for span in self.collector.spans.values()}
            self.assertNotIn(request_id, known)

    def test_when_the_collector_hangs_neither_answers_nor_the_end_wait(self) -> None:
        """The last test: the second process ends."""
        self.collector.hang()
        self.addCleanup(self.collector.recover)
        before = self.collector.waiting
        took = []
        while self.collector.waiting < before + 2:  # asked again and again, it never answers
            began = time.monotonic()
            self.ask(self.elsewhere, stream=True)
            took.append(time.monotonic() - began)
        self.assertLess(statistics.median(took), EXPORT_SECONDS / 2)
        warned = wait_until(lambda: self.second.log().count(WARNING), what="a warning")
        self.assertEqual(warned, 1, self.second.log())
        began = time.monotonic()
        self.assertEqual(self.second.stop(), 0)
        self.assertLess(time.monotonic() - began, 6)
        self.collector.recover()
        self.second.env = {**self.second.env, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        self.second.start()
        request_id = self.ask(self.elsewhere)
        self.assertEqual(self.second.stop(), 0)  # which sends what was to wait for a minute
        self.trace_of(request_id, {f"POST {ASK}", *ANSWER})
