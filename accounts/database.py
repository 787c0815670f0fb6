"""Running blocking database work beside the event loop, without leaking a connection per task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection

T = TypeVar("T")

CLOCK = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "postgresql": "extract(epoch from clock_timestamp())",
}

_threads = ThreadPoolExecutor(8, thread_name_prefix="database")


def database_clock() -> str:
    """Return the SQL expression for now, in Unix seconds: leases and claims never compare two machines' clocks."""
    return CLOCK[connection.vendor]


def lift_time_limit() -> None:
    """Let this connection's statements take their time: a change of a large table is nothing a request waits for."""
    _on_postgres("SET statement_timeout = 0")


def restore_time_limit() -> None:
    """Take back `lift_time_limit`."""
    _on_postgres("RESET statement_timeout")


def _on_postgres(statement: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(statement)


async def in_database_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Call `function` in a thread of a small pool and return its result."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads, call_and_release, function, arguments)


async def stream_from_database(pieces: Iterator[str], *, size: int = 65_536) -> AsyncIterator[bytes]:
    """Yield what `pieces`, read in the pool's threads, gives: in chunks of about `size` characters."""
    while chunk := await in_database_thread(_gather, pieces, size):
        yield chunk.encode()


def _gather(pieces: Iterator[str], size: int) -> str:
    gathered, length = [], 0
    for piece in pieces:
        gathered.append(piece)
        length += len(piece)
        if length >= size:
            break
    return "".join(gathered)


def call_and_release(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    """Call `function` in this thread, and give its connection back."""
    try:
        return function(*arguments)
    except (InterfaceError, OperationalError):
        connection.close()
        raise
    finally:
        release_connection()


def release_connection() -> None:
    """Give a pooled connection back; SQLite's stays open, because opening the file costs more than a query."""
    if connection.vendor != "sqlite" and not connection.in_atomic_block:
        connection.close()
