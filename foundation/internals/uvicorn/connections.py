"""The open connections of this process: how many there may be, how long they may take, and how a stop affects them.

15 s after 200 clients had sent half a request, none of their connections was open; uvicorn alone keeps all 200 (`python
-m benchmarks.unauthenticated`, in benchmarks/README.md).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import resource
import sys
from collections import Counter
from contextlib import suppress
from enum import Enum, auto
from typing import Protocol

from django.conf import settings
from uvicorn.server import ServerState

logger = logging.getLogger(__name__)

SWEEP_INTERVAL = 1.0
# How long requests may still arrive after the process stopped listening: their clients could not know of the stop yet.
IN_FLIGHT_SECONDS = 0.5
# Open files other than connections: databases, upstreams, logs, models.
RESERVED_FILES = 200


class Phase(Enum):
    """What a connection is waiting for."""

    HEADERS = auto()
    BODY = auto()
    ANSWER = auto()
    NEXT_REQUEST = auto()
    FRAMES = auto()  # of a websocket
    END = auto()


class Connection(Protocol):
    """What `Connections` uses of each connection. `since` is the number of the sweep that first saw its phase."""

    transport: asyncio.Transport
    number: int
    since: int

    @property
    def address(self) -> str: ...

    @property
    def is_stalled(self) -> bool: ...

    def phase(self) -> Phase: ...

    def check_deadline(self) -> Phase: ...

    def finish(self) -> None: ...


class Connections(ServerState):
    """Uvicorn's state, with a sweep over all connections every second.

    Ages are counted in sweeps, not by the clock: while the event loop is busy it reads no client's data, and no client
    must be disconnected because of that.
    """

    connections: set[Connection]  # type: ignore[assignment]  # uvicorn names its own protocols

    def __init__(self) -> None:
        super().__init__()
        self.sweeps = 0
        self.numbers = itertools.count()
        self.most = connection_limit()
        self.is_stopping = False
        self._listening_ended_at = math.inf

    def start(self) -> None:
        """Schedule the next sweep; needs the running event loop."""
        asyncio.get_running_loop().call_later(SWEEP_INTERVAL, self._sweep)

    @property
    def is_full(self) -> bool:
        return len(self.connections) > self.most

    def _sweep(self) -> None:
        self.start()
        self.sweeps += 1
        phases: dict[Phase, list[Connection]] = {phase: [] for phase in Phase}
        for connection in tuple(self.connections):
            phases[connection.check_deadline()].append(connection)
        self._drop_slow(phases[Phase.HEADERS])
        idle = phases[Phase.NEXT_REQUEST]
        idle.sort(key=lambda each: each.since)
        # Make room for new connections: a client reopens an idle one when it needs it.
        surplus = max(0, len(self.connections) - self.most * 9 // 10)
        if self._in_flight_over and settings.TRUSTED_PROXIES:
            surplus = len(idle)  # the proxy opens new connections to another process
        for connection in idle[:surplus]:
            connection.transport.close()

    def _drop_slow(self, waiting: list[Connection]) -> None:
        """Enforce the limits on connections without complete headers, the oldest first."""
        # The headers of a normal client have arrived by the next sweep.
        slow = [each for each in waiting if self.sweeps - each.since > 1]
        slow.sort(key=lambda each: (each.since, each.number), reverse=True)
        # Such connections never take more than half of all places.
        most = min(settings.MAX_INCOMPLETE_CONNECTIONS or len(slow), self.most // 2)
        # Behind a proxy every client has the proxy's address.
        most_each = 0 if settings.TRUSTED_PROXIES else settings.MAX_INCOMPLETE_CONNECTIONS_PER_IP
        of_address: Counter[str] = Counter()
        for connection in slow:
            if of_address.total() < most and not (most_each and of_address[connection.address] >= most_each):
                of_address[connection.address] += 1
            else:
                connection.transport.abort()
        if dropped := len(slow) - of_address.total():
            logger.warning(
                "%d connections without complete headers were closed: see MAX_INCOMPLETE_CONNECTIONS "
                "and MAX_INCOMPLETE_CONNECTIONS_PER_IP",
                dropped,
            )

    # --- while the process stops

    def begin_stop(self) -> None:
        """Make the requests that are being answered the last ones on their connections."""
        self.is_stopping = True
        for connection in tuple(self.connections):
            connection.finish()

    def listening_ended(self) -> None:
        """Start the time in which requests already sent may still arrive."""
        self._listening_ended_at = asyncio.get_running_loop().time()

    @property
    def _in_flight_over(self) -> bool:
        return asyncio.get_running_loop().time() > self._listening_ended_at + IN_FLIGHT_SECONDS

    def is_late(self, *, first: bool) -> bool:
        """Tell whether a request whose headers are complete now is refused because the process stops.

        While requests may be in flight, the first one on a connection is not refused, because its client connected in
        time. Requests from a trusted proxy are not refused either: the proxy would pass the refusal on, although
        another process could answer.
        """
        return self._in_flight_over or (self.is_stopping and not first and not settings.TRUSTED_PROXIES)

    def has_pending_requests(self) -> bool:
        """Tell whether a request is being answered, or may still be in flight."""
        waited_for = {Phase.ANSWER}
        if not self._in_flight_over:
            waited_for |= {Phase.HEADERS, Phase.BODY, Phase.NEXT_REQUEST}
        return any(each.phase() in waited_for and not each.is_stalled for each in tuple(self.connections))


def connection_limit() -> int:
    """Return how many connections there may be: MAX_CONNECTIONS, or fewer if files are scarce."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = sys.maxsize if files == resource.RLIM_INFINITY else max(files - RESERVED_FILES, files // 2)
    return min(settings.MAX_CONNECTIONS or room, room)


def raise_file_limit() -> None:
    """Let the process open as many files as the system permits; the default is often 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # on systems where "no limit" is not a number they accept
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
