"""Separate threads for searches, so that a slow search never delays the storing of an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from foundation.database import call_in
from foundation.threads import DaemonThreads

T = TypeVar("T")

AT_ONCE = 4
_threads = DaemonThreads(AT_ONCE, "search")


async def in_search_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run a search outside of the event loop: a few at a time, while the others wait."""
    return await call_in(_threads, work, arguments)
