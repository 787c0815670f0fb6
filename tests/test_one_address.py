"""Three users behind one NAT: a guest or a password guesser there does not use up the limits of the others."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from typing import Any

import httpx2
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from chatservice.testing import (
    ApiUser,
    Service,
    ServiceTestCase,
    needs_dialect,
    running_service,
    tried_once,
    wait_for_minute,
    wait_until,
)
from chatservice.testing.sockets import Socket
from completions.models import Run
from completions.services import request_cancel
from completions.tests.streaming import URL, body_of

needs_dialect("graphql")  # before importing anything from the dialect

from chatservice.dialects.graphql.tests.client import GraphQLSocket  # noqa: E402

LIMITS = {
    "ANONYMOUS": "on",
    "TRUSTED_PROXIES": "1",
    "LIMIT_RUNS_PER_IP": "1",
    "LIMIT_GUEST_RUN_STARTS_PER_MINUTE": "2",
    "LIMIT_STREAMS_PER_IP": "1",
    "LIMIT_STREAMS_PER_USER": "2",
    "LIMIT_SOCKETS_PER_IP": "2",
    "LIMIT_SOCKETS_PER_USER": "3",
    "LIMIT_READS_PER_MINUTE": "40",
    "LIMIT_AUTH_FAILURES_PER_MINUTE": "3",
    "LIMIT_NEW_USERS_PER_MINUTE": "1",
    "REGISTRATION": "keys",
    "LIMIT_GUEST_CREATIONS_PER_HOUR": "2",
    "LIMIT_WS_FRAMES_PER_SECOND": "3",
    "GRAPHQL_SUBSCRIPTIONS": "1",
}


def setUpModule() -> None:
    needs_dialect("chat", "chat_v1", "graphql", "openai_v1", "resources", "websocket")


class OneAddressCase(ServiceTestCase):
    limited: Service

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.limited = cls.enterClassContext(running_service(**LIMITS))

    def setUp(self) -> None:
        super().setUp()
        # Another network each time, because counters outlive a test.
        self.network = f"2001:db8:{uuid.uuid4().int % 65536:x}:{uuid.uuid4().int % 65536:x}"
        self.at = {"X-Forwarded-For": f"{self.network}::1"}
        self.nobody = httpx2.Client(base_url=self.limited.url, headers=self.at, timeout=30, trust_env=False)
        self.addCleanup(self.nobody.close)
        self.api_users = [self.alice, self.bob, self.api_user("dora")]
        for api_user in self.api_users:
            api_user.http.base_url = self.limited.url
            api_user.http.headers.update(self.at)
        self.urls = [self.limited.websocket_url, self.limited.url.replace("http", "ws") + "/graphql"]
        wait_for_minute(20)

    def assert_names(self, message: str, setting: str) -> None:
        self.assertIn(f"({setting})", message)
        self.assertIn(f"t most {LIMITS[setting]} ", message)

    def assert_limited(self, response: httpx2.Response, setting: str) -> None:
        self.assertEqual(response.status_code, 429, response.text)
        self.assertTrue(1 <= int(response.headers["retry-after"]) <= 3_600)
        told = response.json()
        error = told["errors"][0] if "errors" in told else told["error"]
        self.assert_names(error.get("message") or told["message"], setting)


@tried_once
class AnswersTest(OneAddressCase):
    def test_answers_at_once(self):
        body = {"message": "Hi", "model": "echo"}
        with ExitStack() as stack:
            for api_user in self.api_users:
                for _ in range(2):
                    response = stack.enter_context(
                        api_user.http.stream("POST", URL, json=body_of("fake/stall:2", stream=True))
                    )
                    self.assertEqual(response.status_code, 200)
            self.assertEqual(self.nobody.post("/conversations/start", json=body).status_code, 200)
            # The second start is admitted, the third in this minute is refused.
            talk = self.nobody.post("/conversations/start", json=body).json()["conversation_id"]
            self.assert_limited(
                self.nobody.post(f"/conversations/{talk}/message", json=body), "LIMIT_GUEST_RUN_STARTS_PER_MINUTE"
            )
            self.stop_all()

    def test_a_guests_second_answer_at_once(self):
        talk, other = (self.nobody.get("/chat/conversation").json()["id"] for _ in range(2))
        for each in (talk, other):
            self.nobody.post(f"/chat/conversation/{each}/message", json={"content": "Hi"})
        neighbour = {"X-Forwarded-For": f"{self.network}:ffff::9"}
        stream = f"/chat/conversation/{talk}/stream?model=fake/stall:2"
        with self.nobody.stream("GET", stream, headers=neighbour) as first:
            self.assertEqual(first.status_code, 200)
            again = self.nobody.post("/conversations/start", json={"message": "Hi"}, headers=neighbour)
            self.assert_limited(again, "LIMIT_RUNS_PER_IP")
            self.assert_limited(self.nobody.get(f"/chat/conversation/{other}/stream"), "LIMIT_STREAMS_PER_IP")
            # Guests at other addresses have separate limits, although all guests share one account.
            elsewhere = {"X-Forwarded-For": f"2001:db8:ffff:{uuid.uuid4().int % 65536:x}::1"}
            start = self.nobody.post("/conversations/start", json={"message": "Hi"}, headers=elsewhere)
            self.assertEqual(start.status_code, 200)
            for api_user in self.api_users:
                self.assertEqual(api_user.http.post(URL, json=body_of("echo")).status_code, 200)
            self.stop_all()

    def stop_all(self) -> None:
        for run in Run.objects.running():
            request_cancel(run.pk)
        wait_until(lambda: not Run.objects.running().exists(), what="the end of the answers")


@tried_once
class RequestsTest(OneAddressCase):
    def test_requests_of_guests_count_for_their_address_and_others_for_whoever_asks(self):
        told = [self.nobody.get("/chat/conversation/unknown").status_code for _ in range(41)]
        self.assertEqual(told[:40], [404] * 40)
        self.assert_limited(self.nobody.get("/chat/conversation/unknown"), "LIMIT_READS_PER_MINUTE")
        self.assert_limited(self.nobody.get("/users/nobody"), "LIMIT_READS_PER_MINUTE")
        graph = self.nobody.post("/graphql", json={"query": "{ me { username } }"})
        self.assert_limited(graph, "LIMIT_READS_PER_MINUTE")
        for api_user in self.api_users:
            self.assertEqual(api_user.http.get("/v1/chat/conversations").status_code, 200)
        told = [self.alice.http.get("/v1/chat/me").status_code for _ in range(39)]
        self.assertEqual(told, [200] * 39)
        self.assert_limited(self.alice.http.get("/v1/chat/me"), "LIMIT_READS_PER_MINUTE")
        self.assert_limited(self.alice.http.get("/v1/models"), "LIMIT_READS_PER_MINUTE")
        self.assertEqual(self.bob.http.get("/v1/chat/me").status_code, 200)

    def test_a_list_of_messages_is_one_request(self):
        talk = self.alice.http.post("/v1/chat/conversations", json={"title": "x"}).json()["data"]["id"]
        told = [self.alice.http.get(f"/v1/chat/conversations/{talk}/messages").status_code for _ in range(39)]
        self.assertEqual(told, [200] * 39)

    def test_wrong_keys_are_counted_and_right_ones_go_through(self):
        wrong = {"Authorization": "Bearer cb_wrong"}
        told = [self.nobody.get("/v1/models", headers=wrong).status_code for _ in range(3)]
        self.assertEqual(told, [401] * 3)
        for path in ("/v1/models", "/v1/chat/me", "/users/x", "/chat/conversation/x"):
            self.assert_limited(self.nobody.get(path, headers=wrong), "LIMIT_AUTH_FAILURES_PER_MINUTE")
        graph_ql = self.nobody.post("/graphql", json={"query": "{ me { username } }"}, headers=wrong)
        self.assert_limited(graph_ql, "LIMIT_AUTH_FAILURES_PER_MINUTE")
        for api_user in self.api_users:
            self.assertEqual(api_user.http.get("/v1/models").status_code, 200)
        with Socket(self.urls[0], additional_headers={**self.at, **wrong}) as socket:
            frames, code = socket.closed()
        self.assertEqual((frames[0]["data"]["code"], code), ("rate_limit_exceeded", 4429))
        self.assert_names(frames[0]["data"]["message"], "LIMIT_AUTH_FAILURES_PER_MINUTE")
        with GraphQLSocket(self.urls[1], headers={**self.at, **wrong}, init=False) as graph:
            graph.say(type="connection_init")
            code, reason = graph.hung_up()
        self.assertEqual(code, 4429)
        self.assert_names(reason, "LIMIT_AUTH_FAILURES_PER_MINUTE")

    def test_new_accounts(self):
        def register(http: httpx2.Client) -> httpx2.Response:
            return http.post("/users", json={"username": f"u{uuid.uuid4().hex[:12]}", "password": uuid.uuid4().hex})

        for api_user in self.api_users:
            self.assertEqual(register(api_user.http).status_code, 201)
        self.assert_limited(register(self.alice.http), "LIMIT_NEW_USERS_PER_MINUTE")

    def test_conversations_by_get(self):
        told = [self.nobody.get("/chat/conversation").status_code for _ in range(2)]
        self.assertEqual(told, [200, 200])
        self.assert_limited(self.nobody.get("/chat/conversation"), "LIMIT_GUEST_CREATIONS_PER_HOUR")
        for _ in range(3):
            self.assertEqual(self.alice.http.get("/chat/conversation").status_code, 200)


@tried_once
class SocketsTest(OneAddressCase):
    """Open websockets count, whether or not anything is streamed on them."""

    def chat(self, api_user: ApiUser | None = None, *, address: str = "") -> Socket:
        at = {"X-Forwarded-For": address} if address else self.at
        return Socket(self.urls[0], additional_headers={**at, **(api_user.headers if api_user else {})})

    def graph(self, api_user: ApiUser | None = None, *, init: bool = True) -> GraphQLSocket:
        return GraphQLSocket(self.urls[1], headers={**self.at, **(api_user.headers if api_user else {})}, init=init)

    def assert_hung_up(self, socket: Socket, setting: str) -> None:
        frames, code = socket.closed()
        self.assertEqual(code, 4429)
        self.assertEqual(frames[-1]["data"]["code"], "rate_limit_exceeded")
        self.assertEqual(frames[-1]["data"]["retry_after"], 1)
        self.assert_names(frames[-1]["data"]["message"], setting)

    def test_of_one_user_in_both_protocols(self):
        with ExitStack() as stack:
            stack.enter_context(self.graph(self.alice))
            for _ in range(2):
                stack.enter_context(self.chat(self.alice)).expect_silence()
            with self.chat(self.alice) as socket:
                self.assert_hung_up(socket, "LIMIT_SOCKETS_PER_USER")
            with self.graph(self.alice, init=False) as graph:
                graph.say(type="connection_init")
                code, reason = graph.hung_up()
            self.assertEqual(code, 4429)
            self.assert_names(reason, "LIMIT_SOCKETS_PER_USER")
            # just as many, from the same address
            for api_user in (self.bob, self.bob, self.bob, self.api_user("dora")):
                stack.enter_context(self.chat(api_user)).expect_silence()
        wait_until(self.stays_open, what="a place that is free again")

    def stays_open(self) -> bool:
        try:
            with self.chat(self.alice) as socket:
                socket.expect_silence()
        except (AssertionError, ConnectionClosed):
            return False
        return True

    def test_of_guests_and_of_whoever_has_not_said_who_it_is(self):
        with ExitStack() as stack:
            stack.enter_context(self.chat()).expect_silence()
            nameless = stack.enter_context(self.graph(init=False))
            with self.chat(address=f"{self.network}:ff::2") as socket:  # the same /64
                self.assert_hung_up(socket, "LIMIT_SOCKETS_PER_IP")
            # Once a socket is authenticated, it no longer counts towards the address's limit.
            nameless.say(type="connection_init", payload={"authorization": f"Bearer {self.alice.secret}"})
            self.assertEqual(nameless.read(), {"type": "connection_ack"})
            late = stack.enter_context(self.chat())
            late.say(type="auth", key=self.alice.secret)
            self.assertEqual(late.read()["type"], "authenticated")
            stack.enter_context(self.chat()).expect_silence()
            with self.chat() as socket:
                self.assert_hung_up(socket, "LIMIT_SOCKETS_PER_IP")
            # Callers with a key do not count towards the address's limit.
            stack.enter_context(self.graph(self.bob))
            stack.enter_context(self.chat(self.bob)).expect_silence()

    def test_frames_and_operations(self):
        with self.chat(self.alice) as socket:
            for _ in range(5):
                socket.say(type="ping")
            message = next(frame for frame in iter(socket.read, None) if frame["type"] == "error")["data"]["message"]
            self.assert_names(message, "LIMIT_WS_FRAMES_PER_SECOND")
        with self.graph(self.alice) as graph:
            subscription: dict[str, Any] = {"c": "Hi", "m": "fake/stall:2"}
            query = "subscription($c: String!, $m: String) { answer(content: $c, model: $m) { __typename } }"
            graph.subscribe("1", query, **subscription)
            self.assertEqual(graph.read()["type"], "next")
            graph.subscribe("2", query, **subscription)
            [error] = graph.until_over("2")[0]["payload"]
        self.assertEqual((error["extensions"]["status"], error["extensions"]["retryAfter"]), (429, 1))
        self.assert_names(error["message"], "GRAPHQL_SUBSCRIPTIONS")

    def test_a_socket_of_another_protocol_takes_no_place(self):
        spoken: Any = {"subprotocols": [Subprotocol("other")], "additional_headers": self.at, "proxy": None}
        for _ in range(3):
            with connect(self.urls[1], **spoken) as wire, self.assertRaises(ConnectionClosed) as gone:
                wire.recv(5)
            assert gone.exception.rcvd is not None
            self.assertEqual(gone.exception.rcvd.code, 4406)
