"""A silent database must not block a thread: every statement also has a time limit on this side of the connection.

The server's `statement_timeout` does not help if its answer does not arrive. When packets are lost, TCP's own timers
end a statement; when a proxy acknowledges packets and drops them, `Connection.wait` does.
"""

from __future__ import annotations

import threading
import time
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.conf import settings
from psycopg import errors
from psycopg.pq import ConnStatus

from foundation.database import seconds_left

_drained: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
_draining = threading.Lock()


ENDED = (errors.IdleInTransactionSessionTimeout, errors.TransactionTimeout)
"""The server ended a transaction that took too long, with its connection."""


class Connection(psycopg.Connection):
    """Waits for the server at most `time_limit` seconds per statement, and no longer than its thread may."""

    time_limit: float | None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.time_limit = settings.DATABASE_STATEMENT_SECONDS or None
        self._made = time.monotonic()

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait in the place where psycopg waits; when the limit is exceeded, the connection is closed.

        It is closed without telling the server, which would not answer.
        """
        try:
            return super().wait(gen, interval, seconds_left(self.time_limit) if timeout is None else timeout)
        except errors._WaitTimeout:
            if timeout is not None:
                raise
            self.pgconn.finish()
            self._distrust_others()
            raise psycopg.OperationalError("the database did not answer in time") from None
        except ENDED as error:  # psycopg counts them as errors of the program
            raise psycopg.OperationalError(str(error)) from error
        except psycopg.OperationalError:
            if self.pgconn.status == ConnStatus.BAD:
                self._distrust_others()
            raise

    def _distrust_others(self) -> None:
        """Drop the pool's connections as old as this one, so that the next caller need not wait for each of them."""
        pool: Any = self._pool
        if pool is None:
            return
        with _draining:
            if _drained.get(pool, 0.0) >= self._made:
                return
            _drained[pool] = time.monotonic()
        pool.drain()
