"""Threads for reading and writing content: a slow storage must not hold up what only needs the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from foundation.database import call_in
from foundation.threads import DaemonThreads

T = TypeVar("T")

_threads = DaemonThreads(8, "files")


async def in_file_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Call `function`, which may also use the database, in a thread of a small pool; without a limit on its time."""
    return await call_in(_threads, function, arguments, None)
