"""The settings ON_DISCONNECT_*: each API the other way round than by default."""

from __future__ import annotations

from chatservice.testing import Service, ServiceTestCase, needs_dialect, running_service, tried_once, wait_until
from chatservice.testing.sockets import Socket
from completions.models import Run
from completions.tests.streaming import listening

needs_dialect("chat", "chat_v1", "graphql", "openai_v1", "resources", "websocket")
from chatservice.dialects.graphql.tests.client import ANSWER, GraphQLSocket  # noqa: E402

REVERSED = {f"ON_DISCONNECT_{name}": "cancel" for name in ("CHAT_V1", "CHAT", "RESOURCES", "GRAPHQL", "WEBSOCKET")}
MODEL = "fake/slow:20ms:1000"


@tried_once
class ReversedTest(ServiceTestCase):
    other: Service

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.other = cls.enterClassContext(running_service(ON_DISCONNECT_OPENAI_V1="continue", **REVERSED))

    def state(self) -> str:
        return Run.objects.filter(user=self.alice.user).latest("id").state

    def assert_stops(self) -> None:
        wait_until(lambda: self.state() == "cancelled", what="the end of the run")

    def test_chat_completions_go_on(self):
        with listening(self.alice, "fake/slow:10ms:40", url=self.other.url) as stream:
            stream.until("token")
        wait_until(lambda: self.state() == "complete", what="the end of the run")

    def test_streams_by_http_stop_unless_they_have_a_key_or_wish_otherwise(self):
        url = f"{self.other.url}/v1/chat/conversations/stream"
        for headers in ({}, {"Idempotency-Key": "mine"}, {"X-On-Disconnect": "continue"}):
            body = {"content": "Go on", "model": "fake/slow:20ms:60" if headers else MODEL}
            with self.alice.http.stream("POST", url, json=body, headers=headers) as response:
                self.assertTrue(any("token" in line for line in response.iter_lines()))
            wait_until(lambda: self.state() != "running", what="the end of the run")
            self.assertEqual(self.state(), "complete" if headers else "cancelled")

    def test_a_socket_that_closes_stops_what_was_asked_on_it(self):
        url = self.other.websocket_url
        with Socket(url, additional_headers=self.alice.headers) as socket:
            socket.say(type="send", content="Go on", model=MODEL)
            socket.until("ai_chunk")
        self.assert_stops()
        with Socket(url, additional_headers=self.alice.headers) as socket:
            socket.say(type="send", content="Go on", model="fake/slow:20ms:60", client_id="mine")
            socket.until("ai_chunk")
        wait_until(lambda: self.state() == "complete", what="the end of the run")

    def test_a_subscription_that_ends_early_stops_its_answer(self):
        url = self.other.url.replace("http", "ws") + "/graphql"
        with GraphQLSocket(url, headers=self.alice.headers, init=True) as socket:
            socket.subscribe("1", ANSWER, c="Go on", m=MODEL)
            while "text" not in socket.read()["payload"]["data"]["answer"]:
                pass
        self.assert_stops()
