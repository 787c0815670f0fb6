"""What happens when the server process starts and stops."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from django.conf import settings

from chatservice.signals import serving_started
from completions import long_histories, providers, services, titles
from completions.journal import journal
from completions.live import LIVE
from completions.stream_limits import open_streams
from files import texts
from search import indexer, reranking
from search.embedders import loading

logger = logging.getLogger(__name__)

TELL_SECONDS = 1.0
# Time limits after the drain, in case the database or anything else hangs: for storing the outcomes, for releasing
# everything, and for the process. The rest of the promised ten seconds is left to a busy machine.
STORE_SECONDS, RELEASE_SECONDS, EXIT_SECONDS = 4.0, 6.5, 8.5


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


async def end_runs(hurried: Callable[[], bool] = lambda: False, pending: Callable[[], bool] = lambda: False) -> None:
    """Let running answers finish for DRAIN_SECONDS, then end the rest; their readers get TELL_SECONDS to hear of it.

    It also waits for the requests that `pending` reports. It ends immediately when `hurried` is true: after a second
    signal.
    """
    until = services.drain() + settings.DRAIN_SECONDS
    journal().give_up_in(until + STORE_SECONDS - time.monotonic())
    while (LIVE or pending()) and time.monotonic() < until and not hurried():
        await asyncio.sleep(0.05)
    services.close()
    left = list(LIVE.values())
    for live in left:
        live.stop()
    if tasks := [live.task for live in left if live.task is not None]:
        await asyncio.wait(tasks, timeout=max(0.0, until + STORE_SECONDS + TELL_SECONDS - time.monotonic()))
    # The streams of an answer that has ended may still have to send the end of it.
    until = time.monotonic() + TELL_SECONDS
    while open_streams() and time.monotonic() < until and not hurried():
        await asyncio.sleep(0.02)
    if left:
        logger.warning("%d answers were interrupted by the shutdown", len(left))


def start() -> None:
    """Start the work that runs beside the requests; no request waits for it."""
    services.produce_queued()
    texts.start()
    if settings.SEARCH_INDEXER:
        indexer.start(busy=lambda: bool(LIVE))
    else:
        loading.start()
    reranking.start()
    serving_started.send_robust(None)


async def stop() -> None:
    """End all runs, then release everything; whatever hangs is abandoned."""
    await end_runs()
    until = services.drain() + settings.DRAIN_SECONDS + RELEASE_SECONDS
    await _within(until, asyncio.to_thread(texts.stop, _left(until)))
    await _within(until, asyncio.to_thread(indexer.stop, _left(until)))
    await _within(until, titles.stop())
    await _within(until, long_histories.finish())
    await _within(until, journal().close(_left(until)))
    await _within(until, providers.close_all())


def end_process_in_time() -> None:
    """Make sure that a process told to stop really ends, even if a thread or the event loop hangs."""
    until = time.monotonic() + settings.DRAIN_SECONDS + EXIT_SECONDS
    threading.Thread(target=_end_process, args=(until,), name="end", daemon=True).start()


def _end_process(until: float) -> None:
    time.sleep(max(0.0, until - time.monotonic()))
    logger.error("something hung during the shutdown: the process ends without waiting for it")
    logging.shutdown()
    os._exit(1)


def _left(until: float) -> float:
    """Return the seconds until then; if it has passed, still a little, enough for anything that does not hang."""
    return max(0.1, until - time.monotonic())


async def _within(until: float, work: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(_left(until)):
            await work
    except Exception as error:
        logger.warning("the shutdown continues without waiting for something that hangs (%s)", type(error).__name__)
