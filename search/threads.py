"""Threads of their own for searches: a slow one never holds up what stores an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from accounts.database import call_and_release

T = TypeVar("T")

AT_ONCE = 4
_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="search")


async def in_search_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Call `work`, which searches, beside the event loop; a few at once, the others wait."""
    return await asyncio.get_running_loop().run_in_executor(_threads, call_and_release, work, arguments)
