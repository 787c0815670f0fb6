"""The protocols of this service's connections: the bounded ones, with this service's state and error responses."""

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
    """What this service's HTTP and websocket connections have in common."""

    def request_state(self, transport: asyncio.Transport) -> dict[str, Any]:
        # Each request carries its connection, so that the peer's process is looked up once per connection.
        return {STATE: Connection(transport)}

    def refusal(self, path: str, fault: Fault, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        return refusal_bytes(path, fault, headers)


class HttpProtocol(ServiceConnection, BoundedHttpProtocol):
    """An HTTP connection."""


class WebSocketProtocol(ServiceConnection, BoundedWebSocketProtocol):
    """A websocket connection."""
