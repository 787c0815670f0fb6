"""uvicorn still has everything that the bounded protocols use, and calls the methods that they override.

For their limits on a running service see chatservice/tests/test_request_limits.py and test_websocket_limits.py.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import IsolatedAsyncioTestCase

import httptools
import uvicorn
from django.test import SimpleTestCase, override_settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from foundation.internals import uvicorn as package
from foundation.internals.uvicorn.bounded import UNSENT_BYTES, Bounded
from foundation.internals.uvicorn.connections import Connections, Phase
from foundation.internals.uvicorn.faults import Fault
from foundation.internals.uvicorn.http_protocol import (
    BODY_BYTES_PER_SECOND,
    LINGER_SWEEPS,
    MAX_PIPELINED,
    BoundedHttpProtocol,
)
from foundation.internals.uvicorn.websocket_protocol import (
    MAX_FRAGMENTS,
    MAX_UNREAD_FRAMES,
    BoundedWebSocketProtocol,
)

GET = b"GET /path?query HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
UPGRADE = GET + (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
END = b"\r\n"
MASK = b"\x00" * 4
TEXT, CONTINUED, PING, LAST = 0x01, 0x00, 0x09, 0x80


def frame(opcode: int, data: bytes = b"") -> bytes:
    return bytes([opcode, 0x80 | len(data)]) + MASK + data


class Link:
    """A transport that records what is written and done."""

    def __init__(self) -> None:
        self.written = b""
        self.unsent = 0
        self.reading = True
        self.closing = self.aborted = self.ended = False
        self.protocol: Any = None

    def write(self, data: bytes) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default


class Told(Bounded):
    """Reports errors by name, and marks requests."""

    def request_state(self, transport: asyncio.Transport) -> dict[str, Any]:
        return {"came by": transport}

    def refusal(self, path: str, fault: Fault, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        return f"<{fault.name} {path}>".encode()


class ToldHttp(Told, BoundedHttpProtocol):
    """With the limits of the service."""


class ToldWebSocket(Told, BoundedWebSocketProtocol):
    """With the limits of the service."""


class Application:
    """Reads the bodies of its requests, and answers when told to."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.received: list[Any] = []
        self.released = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.received.append(await receive())
        await self.released.wait()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            while self.received[-1]["type"] != "websocket.disconnect":
                self.received.append(await receive())
            return
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


class ProtocolCase(IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.application = Application()
        config = uvicorn.Config(
            self.application, http=ToldHttp, ws=ToldWebSocket, log_config=None, access_log=False, lifespan="off"
        )
        config.load()
        self.config, self.state, self.link = config, Connections(), Link()
        self.protocol = ToldHttp(config, self.state, {"of": "the process"})
        self.protocol.connection_made(self.link)

    async def asyncTearDown(self) -> None:
        self.application.released.set()
        (self.link.protocol or self.protocol).connection_lost(None)
        await settle()


class HttpTest(ProtocolCase):
    def refused(self, *sent: bytes) -> bytes:
        for data in sent:
            self.protocol.data_received(data)
        self.assertTrue(self.link.ended)
        self.assertIs(self.protocol.phase(), Phase.END)
        return self.link.written

    async def test_no_http_is_refused(self) -> None:
        with self.assertLogs("uvicorn.error", "WARNING"):
            self.assertEqual(self.refused(b"nonsense\r\n\r\n"), b"<INVALID >")

    @override_settings(MAX_URL_BYTES=20)
    async def test_a_long_url_is_refused(self) -> None:
        with self.assertLogs("uvicorn.error", "WARNING"):
            self.assertEqual(self.refused(b"GET /" + b"x" * 30 + b" HTTP/1.1\r\n"), b"<LONG_URL /" + b"x" * 30 + b">")

    @override_settings(MAX_HEADER_BYTES=10_000)
    async def test_large_headers_are_refused(self) -> None:
        self.assertEqual(self.refused(GET, b"X: " + b"x" * 20_000), b"<LARGE_HEADERS /path>")

    @override_settings(MAX_HEADERS=10)
    async def test_many_headers_are_refused(self) -> None:
        self.assertEqual(self.refused(GET, b"X: y\r\n" * 20), b"<MANY_HEADERS /path>")

    @override_settings(MAX_HEADER_BYTES=1_000)
    async def test_the_chunks_of_a_body_are_no_headers(self) -> None:
        self.protocol.data_received(POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1_000)
        self.assertFalse(self.link.ended)
        self.assertEqual(self.refused(b"1;" + b"x" * 2_000), b"<LARGE_HEADERS />")

    @override_settings(HEADER_SECONDS=2)
    async def test_slow_headers_are_refused(self) -> None:
        self.protocol.data_received(GET)
        self.sweep(3)
        self.assertEqual(self.link.written, b"<SLOW_HEADERS /path>")
        self.sweep(LINGER_SWEEPS + 1)
        self.assertTrue(self.link.aborted)

    @override_settings(BODY_SECONDS=2)
    async def test_a_slow_body_is_refused_and_its_application_told(self) -> None:
        self.protocol.data_received(POST + b"Content-Length: 9\r\n\r\n{")
        await settle()
        self.sweep(3)
        self.assertEqual(self.link.written, b"<SLOW_BODY />")
        assert self.protocol._active is not None
        self.assertEqual(await self.protocol._active.receive(), {"type": "http.disconnect"})

    @override_settings(BODY_SECONDS=2)
    async def test_a_body_that_keeps_arriving_has_more_time(self) -> None:
        self.protocol.data_received(POST + b"Content-Length: 99999999\r\n\r\n")
        await settle()
        for _ in range(4):
            self.protocol.data_received(b"x" * BODY_BYTES_PER_SECOND)
            self.sweep(1)
        self.sweep(1)
        self.assertEqual(self.link.written, b"")
        self.sweep(2)
        self.assertEqual(self.link.written, b"<SLOW_BODY />")

    def sweep(self, count: int) -> None:
        self.protocol.check_deadline()
        for _ in range(count):
            self.state.sweeps += 1
            self.protocol.check_deadline()

    async def test_what_a_connection_says_of_itself_is_in_each_request(self) -> None:
        self.protocol.data_received((GET + END) * 2)
        await settle()
        self.application.released.set()
        await settle()
        states = [scope["state"] for scope in self.application.scopes]
        self.assertEqual(states, [{"of": "the process", "came by": self.link}] * 2)
        self.assertEqual([scope["late"] for scope in self.application.scopes], [False, False])
        self.assertIn(self.protocol, self.state.connections)

    async def test_the_phases_of_a_request(self) -> None:
        self.assertIs(self.protocol.phase(), Phase.HEADERS)
        self.protocol.data_received(POST + b"Content-Length: 2\r\n\r\n{")
        self.assertIs(self.protocol.phase(), Phase.BODY)
        self.protocol.data_received(b"}")
        self.assertIs(self.protocol.phase(), Phase.ANSWER)
        self.application.released.set()
        await settle()
        self.assertIs(self.protocol.phase(), Phase.NEXT_REQUEST)

    async def test_a_few_requests_may_wait_for_their_turn(self) -> None:
        with self.assertLogs("uvicorn.error", "WARNING"):
            self.protocol.data_received((GET + END) * (MAX_PIPELINED + 5))
        self.assertEqual(len(self.protocol.pipeline), MAX_PIPELINED)
        self.application.released.set()
        for _ in range(MAX_PIPELINED):
            await settle()
        self.assertEqual(self.link.written.count(b"HTTP/1.1 204"), MAX_PIPELINED + 1)
        self.assertEqual(self.link.written.count(b"connection: close"), 1)
        self.assertTrue(self.link.closing)

    async def test_of_pipelined_requests_the_one_that_is_answered_learns_that_its_client_left(self) -> None:
        self.protocol.data_received((GET + END) * 2)
        await settle()
        active = self.protocol._active
        assert active is not None
        self.assertIsNot(active, self.protocol.cycle)
        self.protocol.connection_lost(None)
        self.assertEqual(await active.receive(), {"type": "http.disconnect"})

    async def test_after_a_stop_began_the_next_answer_is_the_last(self) -> None:
        self.protocol.data_received(GET + END)
        self.state.begin_stop()
        self.application.released.set()
        await settle()
        self.assertIn(b"connection: close", self.link.written)
        self.assertTrue(self.link.closing)

    @override_settings(SEND_SECONDS=0.01)
    async def test_a_client_that_does_not_read_is_cut_off(self) -> None:
        self.assertLess(self.link.high, UNSENT_BYTES)
        self.protocol.pause_writing()
        self.assertTrue(self.protocol.flow.write_paused)
        await asyncio.sleep(0.05)
        self.assertTrue(self.link.aborted)


class WebSocketTest(ProtocolCase):
    async def upgraded(self, *, admitted: bool = True) -> Any:
        self.protocol.data_received(UPGRADE + END)
        await settle()
        if admitted:
            self.application.released.set()
            await settle()
            self.assertIn(b" 101 ", self.link.written)
            self.link.written = b""
        self.assertIsInstance(self.link.protocol, ToldWebSocket)
        self.assertTrue(self.protocol._upgraded)
        return self.link.protocol

    def close_code(self) -> int:
        place = self.link.written.rindex(b"\x88")
        return int.from_bytes(self.link.written[place + 2 : place + 4], "big")

    async def test_what_comes_before_the_client_is_admitted_stays_in_the_kernel(self) -> None:
        await self.upgraded(admitted=False)
        self.assertFalse(self.link.reading)
        self.application.released.set()
        await settle()
        self.assertTrue(self.link.reading)
        [scope] = self.application.scopes
        self.assertEqual((scope["type"], scope["state"]["came by"]), ("websocket", self.link))

    async def test_a_request_that_only_one_parser_takes_is_refused(self) -> None:
        self.protocol.data_received(UPGRADE + b"X: " + b"x" * 9_000 + b"\r\n\r\n")
        self.assertEqual(self.link.written, b"<INVALID >")
        self.assertTrue(self.link.closing)

    async def test_fragments_are_counted(self) -> None:
        socket = await self.upgraded()
        socket.data_received(frame(TEXT) + frame(CONTINUED) * (MAX_FRAGMENTS - 1))
        self.assertFalse(self.link.closing)
        socket.data_received(frame(CONTINUED))
        self.assertEqual(self.close_code(), 1009)

    async def test_messages_that_nobody_has_read_are_counted(self) -> None:
        socket = await self.upgraded()
        socket.data_received(frame(TEXT | LAST) * MAX_UNREAD_FRAMES)
        self.assertFalse(self.link.closing)
        socket.data_received(frame(TEXT | LAST))
        self.assertEqual(self.close_code(), 1008)

    async def test_text_is_utf_8(self) -> None:
        socket = await self.upgraded()
        with self.assertNoLogs("uvicorn.error", "ERROR"):
            socket.data_received(frame(TEXT | LAST, b"\xff"))
        self.assertEqual(self.close_code(), 1007)

    async def test_pongs_are_for_clients_that_read_them(self) -> None:
        socket = await self.upgraded()
        socket.data_received(frame(PING | LAST, b"first"))
        self.assertIn(b"first", self.link.written)
        self.link.unsent, self.link.written = UNSENT_BYTES, b""
        socket.data_received(frame(PING | LAST, b"second") * 10)
        self.link.unsent = 0
        socket.data_received(frame(PING | LAST, b"third"))
        self.assertEqual((b"second" in self.link.written, b"third" in self.link.written), (False, True))

    async def test_a_process_that_stops_opens_no_new_one(self) -> None:
        self.protocol.data_received(GET + END)
        self.state.is_stopping = True
        with self.assertLogs("uvicorn.error", "WARNING"):
            self.protocol.data_received(UPGRADE + END)
        self.assertIsNone(self.link.protocol)


class CallbackTest(SimpleTestCase):
    def test_the_parser_tells_of_chunks(self) -> None:
        told: list[str] = []

        class Listener:
            def on_chunk_header(self) -> None:
                told.append("header")

            def on_chunk_complete(self) -> None:
                told.append("complete")

        httptools.HttpRequestParser(Listener()).feed_data(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        self.assertEqual(told, ["header", "complete"])


def class_in(module: str, name: str) -> ast.ClassDef:
    source = (Path(package.__path__[0]) / f"{module}.py").read_text(encoding="utf-8")
    return next(each for each in ast.parse(source).body if isinstance(each, ast.ClassDef) and each.name == name)


def attributes(node: ast.AST, of: str) -> set[str]:
    """Return the attributes that are read or set on a name, or on an attribute of that name."""
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute):
            held = each.value
            name = held.id if isinstance(held, ast.Name) else getattr(held, "attr", "")
            if name == of:
                found.add(each.attr)
    return found


def overridden(node: ast.ClassDef) -> set[str]:
    """Return the names of the methods called on `super()`."""
    calls = (each for each in ast.walk(node) if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Call))
    return {each.attr for each in calls if getattr(each.value.func, "id", "") == "super"}


class NamesTest(IsolatedAsyncioTestCase):
    """Every name of uvicorn's that the sources use exists on a new object of its class."""

    def assert_has(self, owner: object, names: set[str], own: type) -> None:
        self.assertTrue(names)
        missing = {name for name in names if not hasattr(owner, name) and not hasattr(own, name)}
        self.assertEqual(missing, set())

    async def test_protocols(self) -> None:
        config = uvicorn.Config(Application(), http="httptools", ws="websockets-sansio", log_config=None)
        config.load()
        cases: list[tuple[str, type, type]] = [
            ("http_protocol", BoundedHttpProtocol, HttpToolsProtocol),
            ("websocket_protocol", BoundedWebSocketProtocol, WebSocketsSansIOProtocol),
        ]
        for module, ours, theirs in cases:
            protocol: Any = theirs(config, ServerState(), {})
            if theirs is HttpToolsProtocol:
                protocol.on_message_begin()  # creates the attributes of a request
            for node in (class_in("bounded", "Bounded"), class_in(module, ours.__name__)):
                # A websocket's `server_state` is our own attribute, set in __init__.
                self.assert_has(protocol, attributes(node, "self") - {"server_state"}, ours)
                self.assertEqual({name for name in overridden(node) if not hasattr(theirs, name)}, set())
        self.assertTrue(callable(HttpToolsProtocol.send_400_response))

    async def test_a_request_that_is_answered(self) -> None:
        link: Any = Link()
        cycle = RequestResponseCycle({}, link, link, link, link, False, [], asyncio.Event(), False, True, link)  # type: ignore[typeddict-item]
        node = class_in("http_protocol", "BoundedHttpProtocol")
        self.assert_has(cycle, attributes(node, "cycle") | attributes(node, "_active"), RequestResponseCycle)

    async def test_the_state_of_the_server(self) -> None:
        used = attributes(class_in("http_protocol", "BoundedHttpProtocol"), "server_state")
        used |= attributes(class_in("bounded", "Bounded"), "server_state")
        self.assertLessEqual({"connections", "default_headers"}, vars(ServerState()).keys())
        self.assert_has(Connections(), used, Connections)
