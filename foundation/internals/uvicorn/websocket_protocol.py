"""A websocket: limits what a client may send without waiting for our answers.

With eight clients that send pings and read nothing, the process grew by 4 MB in 5 s; with uvicorn's own protocol it
grew by 82 MB (`python -m benchmarks.internals --only websockets`).
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from foundation.internals.uvicorn.bounded import UNSENT_BYTES, Bounded
from foundation.internals.uvicorn.connections import Connections
from foundation.internals.uvicorn.faults import Fault

MAX_FRAGMENTS = 1_000
# More frames than the application takes before it hangs up by its own limit and says so; each costs half a kilobyte.
MAX_UNREAD_FRAMES = 5_000


class BoundedWebSocketProtocol(Bounded, WebSocketsSansIOProtocol):
    """Adds the limits that LIMIT_WS_FRAME_BYTES, which limits only the size of a message, does not cover."""

    def __init__(self, config: Any, server_state: Connections, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.server_state = server_state

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            # httptools accepted this request but the websocket library does not, and uvicorn would wait for ever.
            self.transport.write(self.refusal("", Fault.INVALID, self.default_headers))
            self.transport.close()

    def handle_connect(self, event: Any) -> None:
        # Until the client is admitted, its data stays in the kernel.
        self.transport.pause_reading()
        super().handle_connect(event)

    def start_keepalive(self) -> None:
        """Start reading; uvicorn calls this when the client is admitted."""
        self.transport.resume_reading()
        super().start_keepalive()

    def handle_ping(self) -> None:
        if self.transport.get_write_buffer_size() < UNSENT_BYTES:
            super().handle_ping()
        else:  # a client that does not read its pongs gets no more of them
            self.conn.data_to_send()

    def handle_cont(self, event: Any) -> None:
        if self.close_sent:
            return
        if len(self.frames) >= MAX_FRAGMENTS:  # empty frames do not count towards the size of a message
            self._fail(1009, "too many fragments")
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        if not self.close_sent and self.queue.qsize() >= MAX_UNREAD_FRAMES:
            self._fail(1008, "too many frames at once")
        elif not self.close_sent and self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            self._fail(1007, "invalid UTF-8")  # uvicorn would log a traceback for it
        else:
            super().send_receive_event_to_app()

    def _fail(self, code: int, reason: str) -> None:
        self.frames = []
        self.conn.fail(code, reason)
        self.handle_parser_exception()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
