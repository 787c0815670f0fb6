"""Clients that do not read cost no memory, and are disconnected in the end."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket as sockets
import struct
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

from django.db import OperationalError
from django.test import SimpleTestCase

from accounts.callers import Principal
from chatservice.dialects import sockets as dialect_sockets
from chatservice.dialects.websocket import websocket
from chatservice.testing import running_service, tried_on
from chatservice.testing.sockets import Socket, SocketTestCase

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def masked(frame: dict[str, Any]) -> bytes:
    """Return a client's text frame, with a mask of zeros."""
    data = json.dumps(frame).encode()
    assert 125 < len(data) < 65536 or len(data) <= 125
    length = bytes([0x80 | len(data)]) if len(data) <= 125 else b"\xfe" + struct.pack("!H", len(data))
    return b"\x81" + length + b"\x00\x00\x00\x00" + data


@tried_on("sqlite")
class NeverReadingTests(SocketTestCase):
    def test_a_client_that_never_reads_costs_no_memory(self) -> None:
        with running_service() as service:
            with Socket(service.websocket_url, additional_headers=self.alice.headers) as socket:
                run_id = socket.ask("Hi", model="fake/ok:200:1000")[0]["run_id"]
            assert service.process is not None
            before = resident(service.process.pid)
            with sockets.socket() as raw:
                # The smallest buffer the kernel allows, so that unread data has to wait in the service.
                raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
                raw.connect(("127.0.0.1", service.port))
                raw.sendall(
                    f"GET /ws/chat HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nUpgrade: websocket\r\n"
                    f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {self.alice.secret}\r\n"
                    f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n".encode()
                )
                assert b" 101 " in raw.recv(1000)
                raw.settimeout(3)
                sent = 0
                try:
                    # A new subscription replaces unsent frames; a pong stays queued until the client reads it.
                    for number in range(100_000):
                        kind = {"type": "ping"} if number % 2 else {"type": "subscribe", "run_id": run_id}
                        raw.sendall(masked({**kind, "id": "x" * 200}))
                        sent += 1
                except TimeoutError:
                    pass  # the service stopped reading from us
                assert sent < 100_000
                assert resident(service.process.pid) - before < 30_000_000
                with Socket(service.websocket_url, additional_headers=self.alice.headers) as other:
                    assert other.ask("Still there?", model="fake/ok")[-1]["type"] == "ai_complete"


class SendDeadlineTests(SimpleTestCase):
    async def test_a_send_that_takes_too_long_ends_the_socket(self) -> None:
        sent: list[dict[str, Any]] = []
        messages = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": '{"type": "ping"}'}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            return await asyncio.Future()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if message["type"] == "websocket.send":
                await asyncio.Future()

        scope = {"type": "websocket", "headers": [(b"authorization", b"Bearer x")], "client": ("127.0.0.1", 1)}
        nobody = Principal(user_id=uuid.uuid4(), username="nobody")
        with (
            mock.patch.object(dialect_sockets, "SEND_SECONDS", 0.05),
            mock.patch.object(websocket, "principal_of_scope", return_value=nobody),
        ):
            async with asyncio.timeout(5):
                await websocket.CompletionConsumer.as_asgi()(scope, receive, send)
        assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
        assert sent[-1]["code"] == 4408

    async def test_a_guest_who_comes_while_every_database_thread_hangs_is_told(self) -> None:
        sent: list[dict[str, Any]] = []
        messages = [{"type": "websocket.connect"}]

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if messages else await asyncio.Future()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "websocket", "headers": [], "client": ("127.0.0.1", 1)}
        hanging = mock.AsyncMock(side_effect=OperationalError("a database thread did not answer in time"))
        with mock.patch.object(websocket, "in_database_thread", hanging):
            async with asyncio.timeout(5):
                await websocket.CompletionConsumer.as_asgi()(scope, receive, send)
        assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
        assert json.loads(sent[1]["text"])["data"]["code"] == "storage_unavailable"
        assert sent[-1]["code"] == 4500
