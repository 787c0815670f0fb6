"""The protocols of this service's connections: the bounded ones, with its state and its words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from accounts.connections import STATE, Connection
from chatservice.serving.refusals import refusal_bytes
from foundation.internals.uvicorn.bounded import Bounded
from foundation.internals.uvicorn.faults import Fault
from foundation.internals.uvicorn.http_protocol import BoundedHttpProtocol
from foundation.internals.uvicorn.websocket_protocol import BoundedWebSocketProtocol


class ServiceConnection(Bounded):
    """What HTTP and websockets have in common here."""

    def request_state(self, transport: asyncio.Transport) -> dict[str, Any]:
        # Each request carries its connection, so that the process at the other end is looked up once for all of them.
        return {STATE: Connection(transport)}

    def refusal(self, path: str, fault: Fault, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        return refusal_bytes(path, fault, headers)


class HttpProtocol(ServiceConnection, BoundedHttpProtocol):
    """One connection over HTTP."""


class WebSocketProtocol(ServiceConnection, BoundedWebSocketProtocol):
    """One websocket."""
