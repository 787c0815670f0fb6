"""The runs this process is producing: their text so far, and their readers."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from completions.spoken import Spoken
from completions.types import Delta, RunFinished, StreamFinished, StreamStarted, portions

if TYPE_CHECKING:
    import datetime as dt

    from completions.charges import Sent
    from completions.run_requests import RunHandle

LIVE: dict[uuid.UUID, LiveRun] = {}


class LiveRun:
    """One run of this process. Only its event loop touches it.

    Text waits in a buffer until the journal has committed it; only then is it published to readers.
    """

    def __init__(self, handle: RunHandle) -> None:
        self.handle = handle
        self.run_id = handle.run_id
        self.loop = asyncio.get_running_loop()
        self.task: asyncio.Task[None] | None = None
        # The preferred upstream, until it is known which one answered.
        self.upstream = handle.request.upstream
        self.started: StreamStarted | None = None
        self.stream_finished: StreamFinished | None = None
        # Which messages were quoted to the model; None if recall was not requested.
        self.recalled: tuple[Mapping[str, Any], ...] | None = None
        self.chunks = Spoken()
        self.finished: RunFinished | None = None
        # Whether the end is the stored one: a commit that this process never heard of may have stored more.
        self.is_certain = True
        # The run that waited for this one; set by the commit that stored this one's outcome.
        self.following: RunHandle | None = None
        self.began_at = timezone.now()
        self.first_token_at: dt.datetime | None = None
        self.first_text_at: dt.datetime | None = None
        # What was sent upstream; None as long as nothing was.
        self.sent: Sent | None = None
        self.begun = False
        self.length = 0
        self.cancelled = False
        self.lost = False
        # A task that is cancelled before its first step never runs, so until that step only the flags are set.
        self.producing = False
        self._stopped = False
        # Whether the last query did not list this run among our running ones: it may just be ending.
        self.missed = False
        self._buffer: list[Delta] = []
        self._taker: asyncio.Future[None] | None = None
        self._in_flight: list[Delta] = []
        self._seq = 0
        self._taken = 0
        self._waiters: set[asyncio.Future[bool]] = set()
        # How many follow it in this process.
        self.readers = 0

    # --- called by the runner

    def buffer(self, delta: Delta) -> None:
        if self.first_token_at is None:
            self.first_token_at = timezone.now()
        if self.first_text_at is None and delta.text:
            self.first_text_at = timezone.now()
        self.length += len(delta.text)
        self._buffer.append(delta)

    async def taken(self) -> None:
        """Wait until the journal has taken the buffered text."""
        if self._buffer:
            self._taker = self.loop.create_future()
            await self._taker

    def take(self) -> list[Delta]:
        """Return the buffer as numbered chunks to be stored: a single one, unless there is very much text."""
        if not self._buffer:
            return []
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)
        chunks = []
        for merged in portions(self._buffer):
            self._seq += 1
            self._taken += len(merged.text)
            chunks.append(Delta(merged.text, merged.wire, self._seq, self._taken))
        self._buffer.clear()
        self._in_flight += chunks
        return chunks

    def pending_text(self) -> str:
        """Return the text that is being stored, followed by the buffered text."""
        return "".join([delta.text for delta in (*self._in_flight, *self._buffer)])

    def text(self) -> str:
        return self.chunks.text()

    # --- after the commit

    def publish(self, chunk: Delta) -> None:
        self._in_flight.remove(chunk)
        self.chunks.append(chunk)
        self.wake()

    def end(self, finished: RunFinished, *, is_certain: bool = True) -> None:
        """Publish the one terminal event; a second call does nothing. Unless it `is_certain`, readers ask the store."""
        if self.finished is None:
            self.finished, self.is_certain = finished, is_certain
            LIVE.pop(self.run_id, None)
            self.wake()

    # --- ways to stop

    def cancel(self) -> None:
        """Stop at the client's request and keep the text so far."""
        self.cancelled = True
        self.stop()

    def lose(self) -> None:
        """The run is no longer ours (another process took its lease, or it was deleted): stop and write nothing."""
        self.lost = True
        self.stop()

    def stop(self) -> None:
        """Stop producing. Only once, and never while the outcome is being stored: that must not be interrupted."""
        if self.producing and not self._stopped and self.task is not None:
            self._stopped = True
            self.task.cancel()

    # --- called by readers

    def wake(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(True)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Count the block as a reader: a run that is being read goes on when the client that asked for it leaves."""
        self.readers += 1
        try:
            yield
        finally:
            self.readers -= 1

    async def wait(self, timeout: float) -> bool:
        """Wait for news; returns False when `timeout` seconds brought none."""
        waiter: asyncio.Future[bool] = self.loop.create_future()
        self._waiters.add(waiter)
        timer = self.loop.call_later(timeout, _expire, waiter)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)


def _expire(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
