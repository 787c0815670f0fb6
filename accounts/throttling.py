"""Limits that hold across processes and machines: counters in the database, one statement each.

Counters are kept per `Principal.limit_key`: the user for callers with a key or a session, the address for guests.
Failed credentials are counted per address. Windows begin and end by the database's clock, so machines whose clocks
differ count in the same one.
"""

from __future__ import annotations

import functools
import math
from decimal import Decimal
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import Q

from accounts.callers import Principal
from accounts.models import RateWindow
from foundation.database import database_clock

MINUTE = 60  # seconds
HOUR = 3600
PERIODS = {MINUTE: "a minute", HOUR: "an hour"}

_TABLE = RateWindow._meta.db_table
_WHOLE = {"sqlite": "CAST({} AS INTEGER)", "postgresql": "CAST(floor({}) AS bigint)"}


class RateLimited(Exception):
    """A limit is reached: 429. `message` names its value and its setting and is safe to show."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class Counted(NamedTuple):
    """A counter's new value, and the whole seconds until its window ends: at least 1, the Retry-After of a refusal."""

    used: int
    seconds_left: int


@functools.cache
def _count_sql(vendor: str, clock: str, window: int) -> str:
    # A row is reused in each new window, so the table has only as many rows as there are callers.
    number = _WHOLE[vendor].format(f"{clock} / {window}")
    return (
        f'INSERT INTO {_TABLE} ("key", "window", "count") VALUES (%s, {number}, %s) '  # noqa: S608  no input in the text
        f'ON CONFLICT ("key") DO UPDATE SET '
        f'"count" = CASE WHEN {_TABLE}."window" = excluded."window" THEN {_TABLE}."count" + excluded."count" '
        f'ELSE excluded."count" END, "window" = excluded."window" '
        f'RETURNING "count", ("window" + 1) * {window} - {clock}'
    )


def count(cursor: Any, key: str, *, amount: int = 1, window: int = MINUTE) -> Counted:
    """Add `amount` to the counter of `key` in the current `window` of seconds."""
    cursor.execute(_count_sql(connection.vendor, database_clock(), window), [key[:100], amount])
    used, left = cursor.fetchone()
    return Counted(used, _whole_seconds(left))


def give_back(cursor: Any, key: str, *, amount: int = 1, window: int = MINUTE) -> None:
    """Subtract `amount` from the counter of `key`: it was counted beforehand, but did not happen."""
    number = _WHOLE[connection.vendor].format(f"{database_clock()} / {window}")
    cursor.execute(
        f'UPDATE {_TABLE} SET "count" = "count" - %s '  # noqa: S608  no input in the text
        f'WHERE "key" = %s AND "window" = {number} AND "count" >= %s',
        [amount, key[:100], amount],
    )


def seconds_left(*, window: int = MINUTE) -> int:
    """Return the seconds until the current window ends, at least 1."""
    return _whole_seconds(window - _database_time() % window)


def hit(key: str, *, limit: int, window: int = MINUTE) -> int:
    """Count one event against `limit` in a window of seconds; returns 0, or the seconds to wait once it is exceeded."""
    if limit <= 0:
        return 0
    with connection.cursor() as cursor:
        counted = count(cursor, key, window=window)
    return counted.seconds_left if counted.used > limit else 0


def enforce(key: str, setting: str, what: str, *, window: int = MINUTE) -> None:
    """Count one event against the limit that `setting` names; raises RateLimited, which calls the events `what`."""
    limit = getattr(settings, setting)
    if wait := hit(key, limit=limit, window=window):
        raise RateLimited(f"At most {limit} {what} {PERIODS[window]} ({setting}).", retry_after=wait)


def enforce_for(who: Principal, kind: str, setting: str, what: str, *, window: int = MINUTE) -> None:
    """Count one event of a `kind` against this caller's limit; raises RateLimited. See `enforce`."""
    if who.is_counted:
        enforce(f"{kind}:{who.limit_key}", setting, what, window=window)


def forget_old() -> int:
    """Delete the counters of windows that ended long ago, which are useless but reveal who was here."""
    now = _database_time()
    minute, hour = int(now) // MINUTE, int(now) // HOUR
    # Numbers of hour windows are far smaller than those of minute windows.
    old_minutes = Q(window__gt=minute // 2, window__lt=minute - 60)
    return RateWindow.objects.filter(old_minutes | Q(window__lt=hour - 1)).delete()[0]


def _database_time() -> float:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {database_clock()}")
        return float(cursor.fetchone()[0])


def _whole_seconds(left: float | Decimal) -> int:
    return max(1, math.ceil(left))
