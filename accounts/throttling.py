"""Limits per principal and address that hold across processes: counters in the database, one statement each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.db import connection

from accounts.models import RateWindow

MINUTE = 60  # seconds
HOUR = 3600

_TABLE = RateWindow._meta.db_table
# A row is reused window after window, so the table stays as small as the number of callers.
COUNT_SQL = (
    f'INSERT INTO {_TABLE} ("key", "window", "count") VALUES (%s, %s, %s) '  # noqa: S608  no input in the text
    f'ON CONFLICT ("key") DO UPDATE SET '
    f'"count" = CASE WHEN {_TABLE}."window" = excluded."window" THEN {_TABLE}."count" + excluded."count" '
    f'ELSE excluded."count" END, "window" = excluded."window" RETURNING "count"'
)
GIVE_BACK_SQL = (
    f'UPDATE {_TABLE} SET "count" = "count" - %s '  # noqa: S608  no input in the text
    f'WHERE "key" = %s AND "window" = %s AND "count" >= %s'
)


def count(
    cursor: Any, key: str, *, amount: int = 1, window: int = MINUTE, clock: Callable[[], float] = time.time
) -> int:
    """Add `amount` to the counter of `key` in the current `window` of seconds and return its new value."""
    cursor.execute(COUNT_SQL, [key[:100], int(clock()) // window, amount])
    return cursor.fetchone()[0]


def give_back(cursor: Any, key: str, *, amount: int, clock: Callable[[], float] = time.time) -> None:
    """Take `amount` off the counter of `key` again: what was counted beforehand did not happen."""
    cursor.execute(GIVE_BACK_SQL, [amount, key[:100], int(clock()) // MINUTE, amount])


def seconds_left(clock: Callable[[], float] = time.time, *, window: int = MINUTE) -> int:
    """Seconds until the current window ends, at least 1: the Retry-After of a refusal."""
    return window - int(clock()) % window


def hit(key: str, *, limit: int, window: int = MINUTE) -> int:
    """Count one event against `limit` in a window of seconds; returns 0, or the seconds to wait once it is exceeded."""
    if limit <= 0:
        return 0
    with connection.cursor() as cursor:
        used = count(cursor, key, window=window)
    return seconds_left(window=window) if used > limit else 0


def forget_old(clock: Callable[[], float] = time.time) -> int:
    """Drop the counters of an hour ago and before: they say who was here, and count nothing any more."""
    minute = int(clock()) // MINUTE
    # Longer windows have smaller numbers, by far: those rows are few, and stay.
    return RateWindow.objects.filter(window__gt=minute // 2, window__lt=minute - 60).delete()[0]
