"""`python -m chatservice.server`: the production server with this service's limits; one process.

chatservice/benchmarks/README.md says why uvicorn. What it adds here: from the first SIGTERM nothing
new is accepted while answers finish, whoever stops reading is cut off in the end, and a clean stop
exits with 0. Its threads share their memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chatservice.asgi import application, lifespan
from completions import services

TELL_SECONDS = 2  # after the drain: for the last frames of answers that did not make it
UNSENT_BYTES = 32_768
M_ARENA_MAX = -8  # as malloc.h has it


class WriteDeadline:
    """Cuts off a client that reads nothing for SEND_SECONDS while something waits to be sent.

    What waits is at most UNSENT_BYTES in the kernel, half as much here, and a frame. What the client
    misses is stored: it can come back with its cursor.
    """

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        # Otherwise the kernel takes megabytes for a client that will never read them.
        link = transport.get_extra_info("socket")
        if link is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with contextlib.suppress(OSError):
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        transport.set_write_buffer_limits(high=UNSENT_BYTES // 2)
        super().connection_made(transport)  # type: ignore[misc]

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[misc]
        if self._deadline is None:
            self._deadline = self.loop.call_later(settings.SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._keep()
        super().resume_writing()  # type: ignore[misc]

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep()
        super().connection_lost(exc)  # type: ignore[misc]

    def _keep(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class HttpProtocol(WriteDeadline, HttpToolsProtocol):
    pass


class WebSocketProtocol(WriteDeadline, WebSocketsSansIOProtocol):
    pass


class Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        services.drain()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # With the door still open: who asks now is told to come back, and /readyz that this process goes.
        await lifespan.end_runs(lambda: self.force_exit)
        await super().shutdown(sockets=sockets)


def config() -> uvicorn.Config:
    """Return the server's configuration from the settings."""
    return uvicorn.Config(
        application,
        host=settings.HOST,
        port=settings.PORT,
        loop="uvloop",
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=settings.LIMIT_WS_FRAME_BYTES or 2**31,  # uvicorn's 0 admits no frame at all
        ws_max_queue=16,
        h11_max_incomplete_event_size=16_384,
        # Access logs would write query strings; whose address counts is decided by TRUSTED_PROXIES alone.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_level="warning",
        # No longer: a peer that reads nothing, or never answers a close, must not hold up the stop.
        timeout_graceful_shutdown=TELL_SECONDS,
    )


def share_heaps() -> None:
    """Let threads share two heaps: glibc gives each one of its own, and what that frees no other can use."""
    if "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def main() -> None:
    share_heaps()
    # The server raises the signal again once it has stopped: by then that is no news.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, lambda number, frame: None)
    Server(config()).run()


if __name__ == "__main__":
    main()
