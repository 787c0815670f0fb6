"""Limits every connection so that it ends at some point, whatever its client does.

The chaos scenario `pressure` (docs/chaos.md) includes 200 readers and 200 websockets that never read; together they
cost 24 MB on SQLite and 39 MB on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from typing import Any

from django.conf import settings

from foundation.internals.uvicorn.connections import Connections, Phase
from foundation.internals.uvicorn.faults import Fault

UNSENT_BYTES = 32_768
STALLED_SECONDS = 2


def over(amount: float, limit: float) -> bool:
    """Tell whether a limit is exceeded; a limit of 0 means none."""
    return bool(limit) and amount > limit


class Bounded:
    """Mixin for uvicorn's protocols.

    A client that reads nothing for SEND_SECONDS while data waits to be sent is cut off. At most UNSENT_BYTES wait in
    the kernel, plus half as much and one frame here. What the client misses is stored: it can return with its cursor.
    """

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    server_state: Connections
    client: tuple[str, int] | None
    app_state: dict[str, Any]
    since = number = 0
    _phase: Any = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        # Otherwise the kernel buffers megabytes for a client that will never read them.
        link = transport.get_extra_info("socket")
        if link is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with contextlib.suppress(OSError):
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        transport.set_write_buffer_limits(high=UNSENT_BYTES // 2)
        self.app_state = {**self.app_state, **self.request_state(transport)}
        super().connection_made(transport)  # type: ignore[misc]
        self.since, self.number = self.server_state.sweeps, next(self.server_state.numbers)
        if self.server_state.is_full:
            # Closed without a response, so that a proxy tries another process.
            transport.abort()

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

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    def phase(self) -> Phase:
        return Phase.END if self.transport.is_closing() else Phase.FRAMES

    def check_deadline(self) -> Phase:
        phase = self.phase()
        # After a close, unsent bytes keep the connection open until the client reads them.
        if over(self.sweeps_in(phase), settings.SEND_SECONDS) and phase is Phase.END:
            self.transport.abort()
        return phase

    def sweeps_in(self, phase: Any) -> int:
        """Return for how many sweeps (about one a second) this phase has lasted."""
        if phase != self._phase:
            self._phase, self.since = phase, self.server_state.sweeps
        return self.server_state.sweeps - self.since

    @property
    def is_stalled(self) -> bool:
        """Tell whether the client has read nothing for a while although data waits to be sent."""
        paused = self._deadline
        return paused is not None and paused.when() - self.loop.time() < settings.SEND_SECONDS - STALLED_SECONDS

    def finish(self) -> None:
        """Close the connection after the request that is being answered."""

    # --- for the application to override; called once per connection, and once per refusal

    def request_state(self, transport: asyncio.Transport) -> dict[str, Any]:
        """Return what each request of this connection carries in its scope's `state`."""
        return {}

    def refusal(self, path: str, fault: Fault, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return the whole response that refuses a request; `path` is '' if it is not known."""
        raise NotImplementedError
