"""A request's id comes from a trusted proxy or is new; its lines, its runs and its errors have it."""

from __future__ import annotations

import json
import uuid
from typing import Any
from unittest import mock

import httpx2
from django.test import SimpleTestCase, override_settings

from chatservice.request_log import begin_request
from chatservice.testing import ServiceTestCase, needs_dialect, tried_on, wait_until
from chatservice.testing.sockets import Socket
from completions.models import Run
from foundation.logs.context import log_context

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
CHAT = "/v1/chat/completions"


@tried_on("sqlite")
class TrustTest(SimpleTestCase):
    def begun(self, headers: dict[str, str], *, proxies: int = 0, peer: str = "127.0.0.1") -> tuple[str, str]:
        """Return the ids of request and trace of a request with these headers; '' for a new id."""
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        outside = log_context.set(mock.Mock())
        try:
            with override_settings(TRUSTED_PROXIES=proxies):
                context = begin_request({"type": "http", "method": "GET", "headers": sent, "client": (peer, 1)})
        finally:
            log_context.reset(outside)
        self.assertTrue(context.request_id)
        return "" if context.request_id.startswith("req_") else context.request_id, context.trace_id

    def test_ids_are_taken_from_a_trusted_proxy_or_a_program_on_this_machine_and_from_nobody_else(self) -> None:
        sent = {"x-request-id": "mine-1", "traceparent": TRACEPARENT}
        for forwarded in ({"x-forwarded-for": "192.0.2.1"}, {"forwarded": "for=192.0.2.1"}, {"via": "1.1 x"}):
            self.assertEqual(self.begun(sent | forwarded), ("", ""))
        self.assertEqual(self.begun(sent, peer="192.0.2.1"), ("", ""))
        self.assertEqual(self.begun(sent, peer=""), ("", ""))
        self.assertEqual(self.begun(sent), ("mine-1", TRACE))
        self.assertEqual(
            self.begun(sent | {"x-forwarded-for": "192.0.2.1"}, proxies=1, peer="10.0.0.1"), ("mine-1", TRACE)
        )

    def test_what_is_malformed_is_not_taken_even_from_a_trusted_proxy(self) -> None:
        for wrong in ("", "a b", "x" * 129, "a\nb", "<script>", '"', "ä"):
            self.assertEqual(self.begun({"x-request-id": wrong}, proxies=1)[0], "")
        for wrong in (
            *("", TRACE, f"ff-{TRACE}-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01"),
            *(f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-00f067aa0ba902b7-01", f"{TRACEPARENT}0"),
        ):
            self.assertEqual(self.begun({"traceparent": wrong}, proxies=1)[1], "", wrong)
        self.assertEqual(self.begun({"traceparent": f"01-{TRACE}-00f067aa0ba902b7-01-new"}, proxies=1)[1], TRACE)


class RequestLogTest(ServiceTestCase):
    def lines(self, request_id: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for the lines with this request id, and return them."""

        def found() -> list[dict[str, Any]]:
            lines = [json.loads(line) for line in self.service.log().splitlines() if line.startswith("{")]
            return [line for line in lines if line.get("request_id") == request_id]

        wait_until(lambda: len(found()) >= count, what=f"{count} lines of {request_id}")
        self.assertEqual(len(found()), count, found())
        return found()

    def test_a_request_is_one_line_with_the_template_of_its_path(self) -> None:
        needs_dialect("chat_v1")
        canary = f"canary{uuid.uuid4().hex}"
        for path, route in (
            (f"/v1/chat/conversations/{uuid.uuid4()}", "/v1/chat/conversations/<str:pk>"),
            (f"/v1/chat/conversations/{canary}", "/v1/chat/conversations/<str:pk>"),
            (f"/{canary}", None),
        ):
            answer = self.alice.http.get(path, params={"q": canary}, headers={"X-Test": canary})
            [line] = self.lines(answer.headers["x-request-id"])
            self.assertEqual((line["method"], line.get("route"), line["status"]), ("GET", route, 404), path)
            self.assertGreater(line["duration_ms"], 0)
            if route:
                known = (str(self.alice.user.pk), str(self.alice.key.pk))
                self.assertEqual((line["user_id"], line["key_id"]), known)
            self.assertNotIn(self.alice.user.username, json.dumps(line))
        self.assertNotIn(canary, self.service.log())

    def test_a_stream_and_its_run_are_a_line_each_at_their_end(self) -> None:
        needs_dialect("openai_v1")
        name, canary = f"id-{uuid.uuid4().hex}", f"canary{uuid.uuid4().hex}"
        asked = {"model": "fake/ok", "stream": True, "messages": [{"role": "user", "content": canary}]}
        with self.alice.http.stream("POST", CHAT, json=asked, headers={"X-Request-Id": name}) as answer:
            self.assertEqual(answer.headers["x-request-id"], name)
            answer.read()
        run = Run.objects.get(request_id=name)
        by_message = {line["message"]: line for line in self.lines(name, 2)}
        ended, request = by_message["run ended"], by_message["request"]
        self.assertEqual((request["route"], request["status"]), (CHAT, 200))
        for field, value in {
            "run_id": str(run.pk),
            "user_id": str(self.alice.user.pk),
            "key_id": str(self.alice.key.pk),
            "state": "complete",
            "model": "fake/ok",
            "upstream": "fake",
            "output_tokens": run.output_tokens,
        }.items():
            self.assertEqual(ended[field], value, field)
        self.assertGreater(ended["duration_ms"], 0)

    def test_a_run_that_fails_tells_its_code_and_its_warning_whose_it_is(self) -> None:
        needs_dialect("openai_v1")
        asked = {"model": "fake/401", "messages": [{"role": "user", "content": "canary"}]}
        answer = self.alice.http.post(CHAT, json=asked)
        lines = self.lines(answer.headers["x-request-id"], 4)  # Django tells the status as well
        [ended] = [line for line in lines if line["message"] == "run ended"]
        [warning] = [line for line in lines if line["level"] == "WARNING"]
        self.assertEqual((ended["state"], ended["error_code"]), ("failed", "upstream_unauthorized"))
        self.assertEqual(warning["run_id"], ended["run_id"])
        self.assertEqual(warning["user_id"], str(self.alice.user.pk))

    def test_a_websocket_is_a_line_at_its_end_and_its_runs_and_errors_have_its_id(self) -> None:
        needs_dialect("websocket")
        with Socket(self.service.websocket_url, additional_headers=self.alice.headers) as socket:
            socket.say(type="send", text="canary", model="fake/ok", conversation_id=str(uuid.uuid4()))
            name = socket.until("error")[-1]["data"]["request_id"]
            socket.ask("canary", model="fake/ok")
        lines = {line["message"]: line for line in self.lines(name, 2)}
        self.assertEqual((lines["request"]["route"], lines["request"]["status"]), ("/ws/chat", 101))
        self.assertEqual(lines["request"]["key_id"], str(self.alice.key.pk))
        self.assertEqual(lines["run ended"]["run_id"], str(Run.objects.get(request_id=name).pk))

    def test_every_error_names_the_request_in_its_body_where_its_api_has_room(self) -> None:
        places = {
            "chat": ("/chat/nothing", "error", "request_id"),
            "chat_v1": (f"/v1/chat/conversations/{uuid.uuid4()}", "error", "request_id"),
            "resources": (f"/conversations/{uuid.uuid4()}", "error", "request_id"),
        }
        needs_dialect(*places, "graphql")
        for path, *way in places.values():
            answer = self.alice.http.get(path)
            found = answer.json()
            for step in way:
                found = found[step]
            self.assertEqual(found, answer.headers["x-request-id"], path)
        graph = self.alice.http.post("/graphql", json={"query": "{ nothing }"})
        [error] = graph.json()["errors"]
        self.assertEqual(error["extensions"]["requestId"], graph.headers["x-request-id"])

    def test_a_client_behind_a_proxy_that_is_not_trusted_does_not_choose_its_id(self) -> None:
        sent = {"X-Request-Id": "chosen", "X-Forwarded-For": "192.0.2.1"}
        answer = httpx2.get(f"{self.service.url}/nowhere", headers=sent, trust_env=False)
        self.assertRegex(answer.headers["x-request-id"], "^req_[0-9a-f]{32}$")
        self.assertNotIn('"chosen"', self.service.log())
