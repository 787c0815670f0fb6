"""`python -m chatservice.server`: the production server with this service's limits; one process.

benchmarks/README.md explains the choice of uvicorn. This module adds: exit code 2 if the configuration cannot be
applied; limits on unauthenticated clients (`foundation/internals/uvicorn/`); from the first SIGTERM no new connection
is accepted while answers finish; exit code 0 after a clean stop. All threads share glibc's heaps
(`foundation/internals/malloc.py`).
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import socket
from types import FrameType
from typing import Any

from chatservice import startup
from foundation.internals.interpreter import loading_permanently

if __name__ == "__main__":  # before the application is imported, because that starts threads which use the database
    startup.read_arguments()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatservice.settings")
    with loading_permanently():  # walks of the garbage collector would be a tenth of the start
        startup.load_settings()
        startup.prepare_first_run()
        startup.check_service()

import uvicorn
from django.conf import settings

from chatservice.asgi import application, lifespan
from chatservice.bodies import Receive, Send
from chatservice.serving.protocols import HttpProtocol, WebSocketProtocol
from completions import services
from foundation.internals.listeners import close_listeners
from foundation.internals.malloc import share_heaps
from foundation.internals.uvicorn.connections import Connections, raise_file_limit
from foundation.logs.tracebacks import log_uncaught_errors

TELL_SECONDS = 2  # after the drain: time for the last frames of answers that did not finish


async def admitting(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Run the application; requests sent before the drain may start answers even while the process stops."""
    if scope["type"] == "http" and not scope["late"]:
        services.admit()
    await application(scope, receive, send)


class Server(uvicorn.Server):
    server_state: Connections

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state = Connections()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await refuse_unusable_address()
        await super().startup(sockets=sockets)
        self.server_state.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not services.is_draining():
            lifespan.end_process_in_time()
        services.drain()
        self.server_state.is_stopping = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Before anything else, so that a proxy turns to another process.
        self.server_state.begin_stop()
        await close_listeners(self.servers, self._protocol)
        self.server_state.listening_ended()
        await lifespan.end_runs(lambda: self.force_exit, self.server_state.has_pending_requests)
        await super().shutdown(sockets=sockets)

    def _protocol(self) -> HttpProtocol:
        return HttpProtocol(self.config, self.server_state, self.lifespan.state)


async def refuse_unusable_address() -> None:
    """Exit with code 2 and one sentence if the service cannot listen on HOST and PORT."""
    host, port = settings.HOST, settings.PORT
    try:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be encoded
        number = getattr(error, "errno", None) or 0
        # Errors of name resolution have negative numbers, which strerror does not know.
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", "there is no such name")
        startup.refuse([f"HOST, PORT: the service cannot listen on {host}, port {port}: {reason}."])
    server.close()
    await server.wait_closed()


def config() -> uvicorn.Config:
    """Return the server's configuration from the settings."""
    return uvicorn.Config(
        admitting,
        host=settings.HOST,
        port=settings.PORT,
        loop="uvloop",
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=settings.LIMIT_WS_FRAME_BYTES or 2**31,  # uvicorn's 0 allows no frame at all
        timeout_keep_alive=settings.KEEP_ALIVE_SECONDS or 2**31,  # type: ignore[arg-type]  # a fraction will do
        # Access logs would contain query strings; only TRUSTED_PROXIES decides whose address counts.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,  # its own would show what errors say
        log_level="warning",
        # Short, because a peer that reads nothing, or never answers a close, must not delay the shutdown.
        timeout_graceful_shutdown=TELL_SECONDS,
    )


def main() -> None:
    log_uncaught_errors()
    share_heaps()
    raise_file_limit()
    # The server raises the signal again after it has stopped; ignore that one.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, lambda number, frame: None)
    Server(config()).run()
    # The interpreter's own shutdown would wait for threads that hang, and take seconds on a busy machine.
    atexit._run_exitfuncs()
    os._exit(0)


if __name__ == "__main__":
    main()
