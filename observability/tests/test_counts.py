"""What two processes count together is what their clients counted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from django.conf import settings
from django.db import connection
from django.test import SimpleTestCase

from chatservice.testing import ROOT, ApiUser, needs_dialect, sse_data, stop_shared_service, wait_until
from chatservice.testing.sockets import Socket
from observability.tests.cases import (
    BROKEN,
    CANARY,
    EITHER,
    FINE,
    GONE,
    SLOW,
    TOKEN,
    UPSTREAM_KEY,
    WHOLE,
    Exposed,
    MetricsTestCase,
    read,
)
from observability.tests.queries import ALERTS, as_rules, expressions, labels_of, names_of

ASK, READ = "/v1/chat/completions", "/v1/chat/conversations"
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def setUpModule() -> None:
    needs_dialect("chat_v1", "openai_v1", "websocket")


def body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": CANARY}], **more}


@pytest.mark.timeout(180)
class CountsTest(MetricsTestCase):
    def test_the_sums_of_two_processes_are_what_the_clients_counted(self) -> None:
        wait_until(lambda: not self.exposed().total("chatservice_streams_open"))
        before = self.exposed()
        kinds: list[tuple[str, dict[str, Any]]] = [(FINE, {}), (WHOLE, {}), (FINE, {}), (BROKEN, {}), (WHOLE, {})]
        with ThreadPoolExecutor(8) as pool:
            asked = [
                pool.submit(self.ask, user, model, **more)
                for model, more in kinds * 4
                for user in (self.alice, self.bob)
            ]
            # Each of the second process's streams alone, since it has room for one.
            streamed = [self.ask(self.bob, FINE, **STREAM) for _ in range(3)]
            responses = [(each.result(), False) for each in asked] + [(each, True) for each in streamed]
        streamed += [self.ask(self.alice, FINE, **STREAM) for _ in range(3)]
        responses += [(each, True) for each in streamed[3:]]
        statuses: Counter[Any] = Counter()
        tokens: Counter[Any] = Counter()
        ended: Counter[Any] = Counter()
        for response, is_stream in responses:
            statuses["POST", f"/{ASK.strip('/')}", str(response.status_code)] += 1
            usage = usage_of(response, is_stream) or {}
            model = json.loads(response.request.content)["model"]
            if response.status_code != 429:  # the second process may still have had the stream before
                ended[model, "able", {200: "complete", 400: "failed"}[response.status_code]] += 1
            tokens[model, "input"] += usage.get("prompt_tokens", 0)
            tokens[model, "output"] += usage.get("completion_tokens", 0)
        spent = 2 * tokens[FINE, "input"] + 8 * tokens[FINE, "output"]

        def agree() -> bool:
            found = grown(before, self.exposed(), "chatservice_http_requests_total", "method", "route", "status")
            return found == statuses

        wait_until(agree, what="the same counts of requests")
        now = self.exposed()
        self.assertEqual(grown(before, now, "chatservice_answers_total", "model", "upstream", "end"), ended)
        self.assertGreaterEqual(ended.total(), 43)
        self.assertEqual(grown(before, now, "chatservice_tokens_total", "model", "kind"), +tokens)
        self.assertAlmostEqual(
            now.total("chatservice_cost_total", currency="USD")
            - before.total("chatservice_cost_total", currency="USD"),
            spent / 1_000_000,
        )
        errors = grown(before, now, "chatservice_answer_errors_total", "upstream", "code")
        self.assertEqual(errors, {("able", "upstream_rejected"): 8})
        first = grown(before, now, "chatservice_time_to_first_token_seconds_count", "model")
        self.assertEqual(first, {(FINE,): [each.status_code for each in streamed].count(200)})
        self.assertGreater(now.total("chatservice_commit_items_sum") - before.total("chatservice_commit_items_sum"), 90)

    def ask(self, user: ApiUser, model: str, **more: Any) -> httpx2.Response:
        return user.http.post(ASK, json=body(model, **more))

    def test_names_that_clients_make_up_and_what_they_say_are_in_no_series(self) -> None:
        before = self.exposed()
        for number in range(5):
            self.ask(self.alice, f"made-up-{number}")
            self.alice.http.get(f"/v1/made-up/{number}?{CANARY}")
            self.alice.http.request(f"M{'ERGE'}", f"/v1/made-up/{number}")
        response = self.alice.http.get(f"{READ}/00000000-0000-0000-0000-{CANARY}")
        self.assertEqual(response.status_code, 404)
        wait_until(lambda: grown(before, self.exposed(), "chatservice_answers_total", "model")[("other",)] == 5)
        text = "".join(map(read, self.ports))
        self.assertIn('method="other"', text)
        for secret in ("made-up", CANARY, self.alice.secret, UPSTREAM_KEY, TOKEN, self.alice.user.username):
            self.assertNotIn(secret, text)

    def test_metrics_are_on_their_port_and_behind_their_token_and_nowhere_else(self) -> None:
        right = {"Authorization": f"Bearer {TOKEN}"}
        wrong = [{}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": TOKEN}, self.alice.headers]
        # By its address, which is not among ALLOWED_HOSTS, as Prometheus would.
        response = httpx2.get(f"{self.first.url}/metrics", headers=right, trust_env=False)
        self.assertEqual(response.status_code, 200)
        self.assertIn("chatservice_build_info", response.text)
        self.assertEqual(response.headers["cache-control"], "no-store")
        for headers in wrong:
            for service, host in ((self.first, "a.example"), (self.second, "localhost")):
                found = httpx2.get(f"{service.url}/metrics", headers={**headers, "Host": host}, trust_env=False)
                self.assertEqual(found.status_code, 404)
                self.assertNotIn("chatservice_build", found.text)
        found = httpx2.get(f"{self.second.url}/metrics", headers=right, trust_env=False)
        self.assertEqual(found.status_code, 404)

    def test_what_is_open_is_counted_while_it_is(self) -> None:
        with Socket(f"ws://127.0.0.1:{self.second.port}/ws/chat", additional_headers=self.bob.headers) as link:
            link.say(type="send", content="Hi", model=SLOW)
            run_id = link.until("ai_chunk")[-1]["run_id"]
            wait_until(lambda: self.exposed().total("chatservice_sockets_open") == 1)
            self.assertEqual(self.exposed().total("chatservice_answers_in_progress"), 1)
            # This process has room for one stream, and the socket's answer is one.
            refused = self.ask(self.bob, FINE, **STREAM)
            self.assertEqual(refused.status_code, 429, refused.text)
            link.say(type="stop", run_id=run_id)
            link.until_end()
        setting = "LIMIT_STREAMS_PER_PROCESS"
        hit = self.exposed().total("chatservice_limits_hit_total", code="rate_limit_exceeded", setting=setting)
        self.assertGreaterEqual(hit, 1)
        wait_until(lambda: not self.exposed().total("chatservice_sockets_open"))

    def test_an_upstream_that_cannot_be_reached_or_does_not_begin_is_told_of(self) -> None:
        before = self.exposed()
        for _ in range(2):
            self.ask(self.alice, GONE)
        self.assertEqual(self.ask(self.alice, EITHER).status_code, 200)
        now = self.exposed()
        self.assertEqual(now.total("chatservice_upstream_breaker_open", upstream="nobody"), 1)
        self.assertEqual(now.total("chatservice_upstream_breaker_open", upstream="able"), 0)
        retried = grown(before, now, "chatservice_upstream_retries_total", "upstream", "code")
        self.assertGreaterEqual(retried["nobody", "upstream_unreachable"], 3)
        skipped = grown(before, now, "chatservice_upstream_fallbacks_total", "upstream", "code")
        self.assertEqual(skipped, {("busy", "upstream_unauthorized"): 1})

    def test_searches_and_the_index_are_measured(self) -> None:
        before = self.exposed()
        response = self.alice.http.get("/v1/chat/search", params={"q": CANARY})
        self.assertEqual(response.status_code, 200, response.text)
        now = self.exposed()
        self.assertEqual(sum(grown(before, now, "chatservice_search_duration_seconds_count", "mode").values()), 1)
        wait_until(lambda: self.exposed().total("chatservice_search_index_queue") == 0, what="an index without a queue")

    def test_the_dashboard_and_the_alerts_name_what_a_process_exposes(self) -> None:
        self.alice.http.get("/v1/chat/search", params={"q": CANARY})
        for model in (FINE, GONE, EITHER, BROKEN):
            self.ask(self.alice, model, **STREAM)
        self.assertEqual(self.bob.http.post(ASK, content="[" * 40 + "]" * 40).status_code, 400)  # LIMIT_JSON_DEPTH
        now = self.exposed()
        labels: dict[str, set[str]] = {}
        for sample in now.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
        if connection.vendor == "sqlite":  # which has no pool
            labels |= {name: {"state"} for name in now.names() if "_database_pool_" in name}
        asked = list(expressions())
        self.assertGreater(len(asked), 60)
        for expression in asked:
            names = names_of(expression)
            self.assertLessEqual(names, labels.keys(), expression)
            self.assertLessEqual(labels_of(expression), set().union(*(labels[name] for name in names)), expression)
        own = {name for name in now.names() if name.startswith("chatservice_")}
        used = {re.sub(r"_(bucket|sum|count)$", "", name) for each in asked for name in names_of(each)}
        self.assertEqual(own - used - {"chatservice_http_request_duration_seconds"}, set())
        page = (ROOT / "docs/metrics.md").read_text()
        self.assertEqual([name for name in sorted(own) if f"`{name}`" not in page], [])

    @unittest.skipUnless(shutil.which("promtool"), "needs promtool, of the package prometheus")
    def test_promtool_accepts_the_rules_the_dashboard_and_what_is_exposed(self) -> None:
        self.ask(self.alice, FINE, **STREAM)
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            file.write(as_rules())
            file.flush()
            for command in (["rules", str(ALERTS)], ["rules", file.name], ["metrics"]):
                done = subprocess.run(
                    ["promtool", "check", *command], input=read(self.ports[0]), capture_output=True, text=True
                )
                self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)

    def test_when_a_database_is_silent_metrics_say_so_and_answer(self) -> None:
        if connection.vendor != "postgresql":
            self.skipTest("a file is not silent")
        self.line.silent_from_birth = True
        self.line.silence()
        port = self.ports[1]
        wait_until(lambda: Exposed(read(port)).by("chatservice_database_up") == {(): 0}, what="a database that is down")
        silent = Exposed(read(port))
        self.assertEqual(silent.by("chatservice_search_index_queue"), {})
        self.assertIn("chatservice_search_index_queue", silent.names())
        self.line.silent_from_birth = False
        self.line.cut_silent()
        wait_until(lambda: Exposed(read(port)).total("chatservice_database_up") == 1, what="a database that answers")

    def test_when_a_process_died_its_answer_is_counted_once_by_the_one_that_ends_it(self) -> None:
        """The last one, by its name, since it kills the second process."""
        stop_shared_service()  # it has the same database, and may end the answer first
        before = Exposed(read(self.ports[0]))
        with self.bob.http.stream("POST", ASK, json=body(SLOW, **STREAM)) as response:
            next(response.iter_text())
            self.second.kill()
        reaped = "chatservice_reaped_answers_total"
        wait_until(lambda: Exposed(read(self.ports[0])).total(reaped) > before.total(reaped), what="a reaped answer")
        ends = grown(before, Exposed(read(self.ports[0])), "chatservice_answers_total", "model", "end")
        self.assertEqual(ends, {(SLOW, "interrupted"): 1})


class OffTest(SimpleTestCase):
    def test_without_a_port_and_a_token_nothing_listens(self) -> None:
        self.assertNotIn("observability", settings.INSTALLED_APPS)
        self.assertFalse(any("observability" in name for name in settings.MIDDLEWARE))
        self.assertNotIn("observability.receivers", sys.modules)


def usage_of(response: httpx2.Response, is_stream: bool) -> dict[str, Any] | None:
    if not is_stream:
        return response.json().get("usage")
    events = [json.loads(event) for event in sse_data(response.text) if event != "[DONE]"]
    return next((event["usage"] for event in reversed(events) if event.get("usage")), None)


def grown(before: Exposed, now: Exposed, name: str, *labels: str) -> Counter[Any]:
    """Return by how much the series have grown, without those that have not."""
    found = now.by(name, *labels)
    found.subtract(before.by(name, *labels))
    return Counter({key: round(value) for key, value in found.items() if value})
