"""What is read from the database and kept in memory for a few seconds, so that a request does not ask for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """The result of `read`, for `seconds` at most; it is called in the thread of whoever needs a new one."""

    def __init__(self, read: Callable[[], T], *, seconds: float) -> None:
        self._read, self._seconds = read, seconds
        self._known: tuple[float, T] | None = None
        self._reading = threading.Lock()

    def get(self) -> T:
        known = self._known
        if known is None or time.monotonic() - known[0] >= self._seconds:
            with self._reading:
                known = self._known
                if known is None or time.monotonic() - known[0] >= self._seconds:
                    began = time.monotonic()
                    known = self._known = began, self._read()
        return known[1]

    def forget(self) -> None:
        """Read again when it is needed: call it when a change is committed."""
        with self._reading:
            self._known = None
