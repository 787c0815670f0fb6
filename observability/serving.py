"""What runs beside a serving process while metrics are on: their own port, and a look at the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time

from django.conf import settings
from prometheus_client import start_http_server

from completions.journal import oldest_wait
from observability import figures, model_names

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
PORT_SECONDS = 1.0

_tasks: set[asyncio.Task[None]] = set()


def begin() -> None:
    """Begin, on the event loop that serves."""
    loop = asyncio.get_running_loop()
    for work in (_watch_loop(), _refresh_models()):
        task = loop.create_task(work, context=contextvars.Context())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
    if settings.METRICS_PORT:
        threading.Thread(target=_open_port, name="metrics", daemon=True).start()


def _open_port() -> None:
    """Answer on METRICS_PORT, in threads of its own: metrics are readable even while the event loop hangs.

    The port may still be that of a process which ends and is replaced by this one: it is tried until it is free.
    """
    pause, warned = threading.Event(), False
    while True:
        try:
            start_http_server(settings.METRICS_PORT, settings.METRICS_HOST, figures.registry)
            return
        except OSError as error:
            if not warned:
                where = (settings.METRICS_HOST, settings.METRICS_PORT)
                logger.warning("METRICS_PORT: %s, port %d cannot be used yet (%s)", *where, error.strerror)
                warned = True
        pause.wait(PORT_SECONDS)


async def _watch_loop() -> None:
    while True:
        # Not the loop's own clock: uvloop reads it once in a turn.
        due = time.perf_counter() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        figures.loop_lag.observe(max(0.0, time.perf_counter() - due))
        figures.oldest_wait.set(oldest_wait())


async def _refresh_models() -> None:
    while True:
        await model_names.refresh()
        await asyncio.sleep(model_names.REFRESH_SECONDS)
