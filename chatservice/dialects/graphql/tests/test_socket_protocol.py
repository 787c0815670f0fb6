"""The subprotocol graphql-transport-ws: its close codes, its limits, and malicious frames."""

from __future__ import annotations

import json
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from chatservice.dialects.graphql.tests.client import ANSWER, GraphQLSocket, GraphQLTestCase
from chatservice.testing import running_service, tried_once, wait_until

SPOKEN = Subprotocol("graphql-transport-ws")
ME = "{ me { username } }"
SLOW = "fake/slow:20ms:1000"


def close_code(closed: ConnectionClosed) -> int:
    assert closed.rcvd is not None
    return closed.rcvd.code


@tried_once
class ProtocolTest(GraphQLTestCase):
    def test_only_the_one_subprotocol_is_spoken(self):
        url = self.service.url.replace("http", "ws") + "/graphql"
        for offered in (None, [Subprotocol("graphql-ws")], [Subprotocol("chat.v1")]):
            with connect(url, subprotocols=offered, proxy=None) as wire, self.assertRaises(ConnectionClosed) as gone:
                wire.recv(5)
            self.assertEqual(close_code(gone.exception), 4406)
        with connect(url + "/", subprotocols=[Subprotocol("graphql-ws"), SPOKEN], proxy=None) as wire:
            self.assertEqual(wire.subprotocol, "graphql-transport-ws")

    def test_credentials_in_the_address_and_foreign_pages_are_refused(self):
        url = self.service.url.replace("http", "ws") + "/graphql"
        spoken: Any = {"subprotocols": ["graphql-transport-ws"], "proxy": None}
        with connect(f"{url}?token={self.alice.secret}", **spoken) as wire, self.assertRaises(ConnectionClosed) as gone:
            wire.recv(5)
        self.assertEqual(close_code(gone.exception), 4403)
        with self.assertRaises(Exception) as refused:
            connect(url, origin=Origin("https://evil.example"), **spoken)
        self.assertIn("403", str(refused.exception))

    def test_who_does_not_begin_is_closed(self):
        with running_service(GRAPHQL_INIT_SECONDS="0.3") as service:
            url = service.url.replace("http", "ws") + "/graphql"
            with connect(url, subprotocols=[SPOKEN], proxy=None) as wire:
                with self.assertRaises(ConnectionClosed) as gone:
                    wire.recv(5)
                self.assertEqual(close_code(gone.exception), 4408)

    def test_breaches_of_the_protocol_close_the_socket(self):
        subscribe = {"id": "1", "type": "subscribe", "payload": {"query": ME}}
        init = {"type": "connection_init"}
        for name, said, code in (
            ("subscribe before init", [subscribe], 4401),
            ("init twice", [init, init], 4429),
            ("an unknown type", [{"type": "start"}], 4400),
            ("no type", [{}], 4400),
            ("a type that is none", [{"type": []}], 4400),
            ("a list", [[]], 4400),
            ("a payload that is none", [{"type": "connection_init", "payload": []}], 4400),
            ("no id", [init, {"type": "subscribe", "payload": {"query": ME}}], 4400),
            ("an id that is none", [init, {**subscribe, "id": 5}], 4400),
            ("an empty id", [init, {**subscribe, "id": ""}], 4400),
            ("a long id", [init, {**subscribe, "id": "x" * 201}], 4400),
            ("too large", [init, {**subscribe, "payload": {"query": "#" * 4_200_000}}], None),
        ):
            with self.subTest(name), self.socket(init=False) as socket:
                for frame in said:
                    socket.say(**frame) if isinstance(frame, dict) else socket.raw(json.dumps(frame))
                self.assertIn(socket.hung_up()[0], (code,) if code else (4400, 1009))
        for raw in ("", "{", "[" * 10_000, '"\\ud83d"', b"\x00\xff", "NaN"):
            with self.subTest(raw[:10]), self.socket(init=False) as socket:
                socket.raw(raw)
                self.assertEqual(socket.hung_up()[0], 4400)

    def test_operations_that_are_none_get_an_error_and_the_socket_goes_on(self):
        with self.socket(self.alice) as socket:
            for name, payload, code in (
                ("no query", {}, "invalid_request"),
                ("variables as a list", {"query": ME, "variables": []}, "invalid_request"),
                ("a NUL", {"query": ME, "variables": {"a": "\x00"}}, "nul_character"),
                ("too deep", {"query": ME, "variables": {"a": json.loads("[" * 40 + "]" * 40)}}, "json_too_deep"),
                ("a syntax error", {"query": "{"}, "graphql_parse_failed"),
                ("an unknown field", {"query": "{ nothing }"}, "graphql_validation_failed"),
                ("a wrong variable", {"query": ANSWER, "variables": {"c": 5}}, "graphql_validation_failed"),
                ("an unknown name", {"query": ME, "operationName": "x"}, "invalid_request"),
                (
                    "too many aliases",
                    {"query": "{" + "".join(f"a{n}: __typename " for n in range(16)) + "}"},
                    "too_many_aliases",
                ),
                (
                    "two fields",
                    {"query": 'subscription { a: answer(content: "x") { cursor } b: answer(content: "x") { cursor } }'},
                    "graphql_validation_failed",
                ),
                ("empty", {"query": 'subscription { answer(content: "") { cursor } }'}, "validation_error"),
            ):
                with self.subTest(name):
                    socket.say(id="1", type="subscribe", payload=payload)
                    [frame] = socket.until_over("1")
                    self.assertEqual((frame["type"], frame["payload"][0]["extensions"]["code"]), ("error", code))
            socket.say(type="ping")
            self.assertEqual(socket.read(), {"type": "pong"})
            socket.say(type="pong")
            socket.say(id="unknown", type="complete")
            socket.subscribe("1", ME)
            self.assertEqual(socket.until_over("1")[-1]["type"], "complete")

    def test_ten_operations_at_once_and_no_eleventh(self):
        with self.socket(self.alice) as socket:
            for number in range(10):
                socket.subscribe(str(number), ANSWER, c="Go on", m=SLOW)
            socket.subscribe("eleventh", ANSWER, c="Go on", m=SLOW)
            [frame] = socket.until_over("eleventh")
            self.assertEqual(frame["payload"][0]["extensions"]["code"], "too_many_subscriptions")
            socket.say(id="3", type="complete")
            socket.subscribe("eleventh", ME)
            self.assertEqual(socket.until_over("eleventh")[0]["type"], "next")
            socket.subscribe("4", ME)
            self.assertEqual(socket.hung_up()[0], 4409)

    def test_streams_of_one_caller_are_counted_and_given_back(self):
        with running_service(LIMIT_STREAMS_PER_USER="2") as service:
            url = service.url.replace("http", "ws") + "/graphql"

            def opened() -> str:
                with self.socket_at(url) as socket:
                    for name in ("1", "2"):
                        socket.subscribe(name, ANSWER, c="Go on", m=SLOW)
                        while (frame := socket.read())["id"] != name:
                            pass
                        if frame["type"] == "error":
                            return frame["payload"][0]["extensions"]["code"]
                    socket.subscribe("3", ANSWER, c="Go on", m=SLOW)
                    return socket.until_over("3")[-1]["payload"][0]["extensions"]["code"]

            self.assertEqual(opened(), "rate_limit_exceeded")
            # Disconnecting in any state frees the slots.
            with self.socket_at(url) as socket:

                def free() -> bool:
                    socket.subscribe("x", ANSWER, c="Hello")
                    return socket.until_over("x")[-1]["type"] == "complete"

                wait_until(free, timeout=5, what="a free slot")

    def socket_at(self, url: str) -> GraphQLSocket:
        return GraphQLSocket(url, headers=self.alice.headers, init=True)
