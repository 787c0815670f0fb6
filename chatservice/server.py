"""`python -m chatservice.server`: the production server with this service's limits; one process.

chatservice/benchmarks/README.md says why uvicorn. What it adds here: from the first SIGTERM nothing
new is accepted while answers finish, and a clean stop exits with 0.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from types import FrameType

import uvicorn
from django.conf import settings

from chatservice.asgi import application, lifespan
from completions import services

TELL_SECONDS = 2  # after the drain: for the last frames of answers that did not make it


class Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        services.drain()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Beside uvicorn's own wait, which ends in cut lines: before that every reader is told how it ended.
        ending = asyncio.create_task(lifespan.end_runs())
        await super().shutdown(sockets=sockets)
        await ending


def config() -> uvicorn.Config:
    """Return the server's configuration from the settings."""
    return uvicorn.Config(
        application,
        host=settings.HOST,
        port=settings.PORT,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=settings.LIMIT_WS_FRAME_BYTES or 2**31,  # uvicorn's 0 admits no frame at all
        ws_max_queue=16,
        h11_max_incomplete_event_size=16_384,
        # Access logs would write query strings; whose address counts is decided by TRUSTED_PROXIES alone.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=int(settings.DRAIN_SECONDS) + TELL_SECONDS,
    )


def main() -> None:
    # The server raises the signal again once it has stopped: by then that is no news.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, lambda number, frame: None)
    Server(config()).run()


if __name__ == "__main__":
    main()
