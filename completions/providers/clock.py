"""The deadlines of one answer, enforced with a single timer."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class ContentClock:
    """Cancels the waiting read when `limit` seconds pass without `touch`.

    It counts only between `reading` and `paused`: the consumer's own time is not the upstream's fault. The
    interrupted read ends in CancelledError; `expired` distinguishes this from a real cancellation.
    """

    __slots__ = ("_cancelling", "_due", "_fired", "_handle", "_limit", "_loop", "_paused_at", "_task")

    def __init__(self, limit: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._fired = False
        self._cancelling = 0
        self._handle: asyncio.TimerHandle | None = None
        self.restart(limit)

    def restart(self, limit: float) -> None:
        """Start counting again with a new limit."""
        if self._handle is not None:
            self._handle.cancel()
        self._limit = limit
        self.touch()
        self._handle = self._loop.call_at(self._due, self._check)

    def touch(self) -> None:
        """Restart the count, because content arrived."""
        self._paused_at = self._loop.time()
        self._due = self._paused_at + self._limit

    def reading(self) -> None:
        """Note that from here on the current task waits for the upstream."""
        if self._task is None:
            self._due += self._loop.time() - self._paused_at
        self._task = asyncio.current_task()

    def paused(self) -> None:
        """Note that from here on the task does not wait for the upstream."""
        self._paused_at = self._loop.time()
        self._task = None

    def expired(self) -> bool:
        """Tell whether only this clock caused the CancelledError that was just caught."""
        task, self._task = self._task, None
        return self._fired and task is not None and task.uncancel() <= self._cancelling

    def _check(self) -> None:
        if self._task is None:
            self.touch()
        if self._loop.time() < self._due:
            self._handle = self._loop.call_at(self._due, self._check)
            return
        self._handle = None
        if self._task is not None:
            self._fired = True
            self._cancelling = self._task.cancelling()
            self._task.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._task = None
        if self._handle is not None:
            self._handle.cancel()
