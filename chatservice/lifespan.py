"""What happens when the server process starts and stops."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings

from completions import providers, services
from completions.journal import journal
from completions.live import LIVE
from completions.slots import open_streams
from search import indexer
from search.embedders import loading

logger = logging.getLogger(__name__)

TELL_SECONDS = 1.0


async def run(receive: Any, send: Any) -> None:
    """Answer the server's lifespan messages."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            start()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await stop()
            await send({"type": "lifespan.shutdown.complete"})
            return


async def end_runs(hurried: Callable[[], bool] = lambda: False) -> None:
    """Let what is being written finish for DRAIN_SECONDS, then mark the rest; their readers get TELL_SECONDS.

    At once when `hurried` says so: a second signal.
    """
    until = services.drain() + settings.DRAIN_SECONDS
    while LIVE and time.monotonic() < until and not hurried():
        await asyncio.sleep(0.05)
    left = list(LIVE.values())
    for live in left:
        live.stop()
    await asyncio.gather(*(live.task for live in left if live.task is not None), return_exceptions=True)
    # An answer that has ended is not yet told: its readers still have the last of it to send.
    until = time.monotonic() + TELL_SECONDS
    while open_streams() and time.monotonic() < until and not hurried():
        await asyncio.sleep(0.02)
    if left:
        logger.warning("%d answers were interrupted by the shutdown", len(left))


def start() -> None:
    """Begin what runs beside the requests; nothing waits for it."""
    if settings.SEARCH_INDEXER:
        indexer.start(busy=lambda: bool(LIVE))
    else:
        loading.start()


async def stop() -> None:
    """End all runs, then let go of everything."""
    await end_runs()
    await asyncio.to_thread(indexer.stop)
    await journal().close()
    await providers.close_all()
