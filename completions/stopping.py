"""Stops runs, also before their conversations or messages are deleted, and closes their upstream connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError, OperationalError

from completions import services
from completions.models import RunQuerySet
from completions.readers import wait_for_end
from foundation.database import in_database_thread

T = TypeVar("T")
PATIENCE = 5.0  # seconds: a producer that hangs does not block the deletion of its conversation
TRIES = 3


async def stop(runs: RunQuerySet) -> None:
    """Cancel those of `runs` that are running or queued, and wait until they have ended."""
    unfinished = await in_database_thread(runs.to_stop)
    for run_id in unfinished:
        await services.cancel(run_id)
    try:
        async with asyncio.timeout(PATIENCE):
            for run_id in unfinished:
                await wait_for_end(run_id)
    except TimeoutError:
        pass


async def stop_and(runs: RunQuerySet, change: Callable[[], T]) -> T:
    """Stop `runs`, then make the `change` that deletes them; runs that begin in between are stopped too."""
    for left in range(TRIES - 1, -1, -1):
        await stop(runs)
        try:
            return await in_database_thread(change, seconds=None)
        except (IntegrityError, OperationalError):
            if not left:
                raise
    raise AssertionError("the last try returns or raises")
