"""Separate threads for searches, so that a slow search never delays the storing of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from foundation.database import call_in
from foundation.threads import DaemonThreads

T = TypeVar("T")

AT_ONCE = 4
_threads = DaemonThreads(AT_ONCE, "search")
_loop: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("search_loop", default=None)


async def in_search_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run a search outside of the event loop: a few at a time, while the others wait."""
    before = _loop.set(asyncio.get_running_loop())
    try:
        return await call_in(_threads, work, arguments)
    finally:
        _loop.reset(before)


def asking_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that waits for the search of this thread; None where none does, as in a command."""
    return _loop.get()
