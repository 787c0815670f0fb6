"""Lets a command clean up when it is told to end, as a timer's service manager or Ctrl+C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def exits_on_signals() -> Iterator[None]:
    """End by an exception at SIGTERM and SIGHUP, so that what is unfinished is removed. For the main thread."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
