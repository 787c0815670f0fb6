"""Runs blocking database work outside of the event loop, without leaking a connection per task."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from foundation.threads import DaemonThreads

T = TypeVar("T")

StorageError = (OperationalError, InterfaceError)
"""The errors of a database that is down, silent or full."""

CLOCK = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "postgresql": "extract(epoch from clock_timestamp())",
}

CALL_SECONDS = 30.0
HAS_TRANSACTION_TIMEOUT = 17_00_00
"""The version of PostgreSQL."""

_threads = DaemonThreads(8, "database")


class _Deadline(threading.local):
    at = math.inf


_deadline = _Deadline()


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the total time that this thread waits for the database in the block (PostgreSQL only).

    On SQLite a statement waits for the file's lock for the connection's timeout: see the settings.
    """
    before = _deadline.at
    _deadline.at = min(before, time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.at = before


def seconds_left(limit: float | None) -> float | None:
    """Return how long this thread may wait for a statement whose limit is `limit` seconds; None means for ever."""
    at = _deadline.at
    if at == math.inf:
        return limit
    left = at - time.monotonic()
    if limit is not None and limit < left:
        return limit
    return left if left > 0.0 else 0.0


def database_clock() -> str:
    """Return the SQL expression for the current Unix time: leases and claims never compare two machines' clocks."""
    return CLOCK[connection.vendor]


def prepared_cursor() -> Any:
    """Return a cursor for the statements that run for every request: the database parses and plans each only once."""
    if connection.vendor == "postgresql":
        return connection.prepared_cursor()  # type: ignore[attr-defined]  # ours has it
    return connection.cursor()  # SQLite's driver keeps statements by itself


def send_statement(statement: str, given: Sequence[Any]) -> Callable[[], list[tuple[Any, ...]]]:
    """Run a statement and return what fetches its rows: inside of a pipeline, nothing waits for the database before."""
    cursor = prepared_cursor()
    cursor.execute(statement, given)
    if connection.vendor == "postgresql":
        return cursor.fetchall  # type: ignore[no-any-return]
    rows = cursor.fetchall()  # SQLite ends no transaction while rows are left to be fetched
    return lambda: rows


def checkpoint() -> None:
    """Copy the contents of SQLite's log into the database file.

    Otherwise a commit does it once the log is long, and whoever waits for that commit also waits for the disk.
    """
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")


def lift_time_limit() -> None:
    """Lift the time limit of this connection's statements, for changes of large tables that no request waits for."""
    if connection.vendor == "postgresql":
        connection.override_setting("statement_timeout", "0")  # type: ignore[attr-defined]  # ours has it
        connection.connection.time_limit = None


def restore_time_limit() -> None:
    """Undo `lift_time_limit`."""
    if connection.vendor == "postgresql":
        connection.override_setting("statement_timeout", None)  # type: ignore[attr-defined]  # ours has it
        connection.connection.time_limit = settings.DATABASE_STATEMENT_SECONDS or None


def limit_transactions(seconds: float) -> None:
    """Let the server end each transaction of this thread's connection after `seconds` (PostgreSQL 17 and later).

    No other limit of the server ends one that waits for the rest of a pipeline, whose locks would stay until TCP gives
    up.
    """
    if connection.vendor == "postgresql" and connection.pg_version >= HAS_TRANSACTION_TIMEOUT:  # type: ignore[attr-defined]
        connection.override_setting("transaction_timeout", f"{seconds * 1000:.0f}")  # type: ignore[attr-defined]


def discard_connection() -> None:
    """Close this thread's connection, and the pool's with it: something may still be under way on it."""
    if connection.vendor == "postgresql" and connection.connection is not None:
        connection.connection.pgconn.finish()
    connection.close()


BY_INDEX = "SET enable_seqscan TO off SET enable_hashjoin TO off SET enable_mergejoin TO off"
"""For PostgreSQL's trigger functions, which look up few rows: a session keeps the plans that it made while the
tables were small, and such a plan must not read whole tables once they have grown."""


async def in_database_thread(function: Callable[..., T], *arguments: Any, seconds: float | None = CALL_SECONDS) -> T:
    """Call `function` in a thread of a small pool and return its result; see `call_in`."""
    return await call_in(_threads, function, arguments, seconds)


async def call_in(
    threads: DaemonThreads, function: Callable[..., T], arguments: tuple[Any, ...], seconds: float | None = CALL_SECONDS
) -> T:
    """Call `function`, which uses the database, in one of `threads` and return its result.

    Raises OperationalError after `seconds`, including the wait for a free thread, because all threads may hang. On
    SQLite the function may still be running then; its result is dropped.
    """
    context = contextvars.copy_context()  # the thread's log lines tell whose request it works for
    future: asyncio.Future[T] = asyncio.wrap_future(
        threads.submit(context.run, call_and_release, function, arguments, seconds)
    )
    try:
        async with asyncio.timeout(seconds) as limit:
            return await future
    except TimeoutError as error:
        if limit.expired():
            raise OperationalError("a database thread did not answer in time") from error
        raise


async def stream_from_database(pieces: Iterator[str], *, size: int = 65_536) -> AsyncIterator[bytes]:
    """Yield the contents of `pieces`, read in the pool's threads, in chunks of about `size` characters."""
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


def call_and_release(function: Callable[..., T], arguments: tuple[Any, ...], seconds: float | None = None) -> T:
    """Call `function` in this thread, within `time_limit(seconds)`, and release its connection."""
    try:
        with time_limit(math.inf if seconds is None else seconds):
            return function(*arguments)
    except StorageError:
        connection.close()
        raise
    finally:
        release_connection()


def release_connection() -> None:
    """Release a pooled connection; SQLite's stays open, because opening the file costs more than a query."""
    if connection.vendor != "sqlite" and not connection.in_atomic_block:
        connection.close()
