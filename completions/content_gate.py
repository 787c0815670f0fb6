"""Limits how much content of files goes to upstreams at once: questions with files must not fill the memory."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

MAX_BYTES = 134_217_728
"""For one process. In memory it is about four times as much: as base64, and in the body of the request."""


class ContentGate:
    """Lets `limit` bytes pass at once, in the order in which they came. What is larger passes alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def passing(self, size: int) -> AsyncGenerator[None]:
        """Wait until `size` bytes may pass; they count until the block ends."""
        size = min(size, self._limit)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._let_in()
        try:
            await turn
            yield
        finally:
            if turn.cancelled():
                self._waiting = deque(each for each in self._waiting if each[1] is not turn)
            else:
                self._inside -= size
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside + self._waiting[0][0] <= self._limit:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._inside += size
                turn.set_result(None)


_gates: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, ContentGate] = weakref.WeakKeyDictionary()


def content_gate() -> ContentGate:
    """Return the gate of the running event loop."""
    return _gates.setdefault(asyncio.get_running_loop(), ContentGate(MAX_BYTES))
