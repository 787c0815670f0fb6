"""Limits that hold across processes and machines: counters in the database, one statement each.

Counters are kept per `Principal.limit_key`: the user for callers with a key or a session, the address for guests. A key
with a limit of its own has a counter beside its user's. Failed credentials are counted per address. Windows begin and
end by the database's clock, so machines whose clocks differ count in the same one.
"""

from __future__ import annotations

import functools
import math
from collections import Counter as Tally
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import Q

from accounts.callers import Principal
from accounts.models import RateWindow
from foundation.database import database_clock, send_statement
from foundation.row_sql import marks

MINUTE = 60  # seconds
HOUR = 3600
PERIODS = {MINUTE: "a minute", HOUR: "an hour"}

MAX_KEY = 100
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


class Counter(NamedTuple):
    """What a caller's events are counted under, and the limit on them: 0 is none, `name` is what a refusal calls it."""

    key: str
    limit: int
    name: str


class Rate(NamedTuple):
    """How much of a limit a minute was used, and the whole seconds until the minute ends; `unit` is what it counts."""

    unit: str
    limit: int
    used: int
    seconds_left: int

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)


class CountedAll(NamedTuple):
    """The new values of several counters, and the whole seconds until their window ends."""

    used: dict[str, int]
    seconds_left: int


@functools.cache
def _count_sql(vendor: str, clock: str, window: int, rows: int) -> str:
    # A row is reused in each new window, so the table has only as many rows as there are callers.
    number = _WHOLE[vendor].format(f"{clock} / {window}")
    values = ", ".join([f"(%s, {number}, %s)"] * rows)
    return (
        f'INSERT INTO {_TABLE} ("key", "window", "count") VALUES {values} '  # noqa: S608  no input in the text
        f'ON CONFLICT ("key") DO UPDATE SET '
        f'"count" = CASE WHEN {_TABLE}."window" = excluded."window" THEN {_TABLE}."count" + excluded."count" '
        f'ELSE excluded."count" END, "window" = excluded."window" '
        f'RETURNING "key", "count", ("window" + 1) * {window} - {clock}'
    )


def count(cursor: Any, key: str, *, amount: int = 1, window: int = MINUTE) -> Counted:
    """Add `amount` to the counter of `key` in the current `window` of seconds."""
    cursor.execute(*_counting({key[:MAX_KEY]: amount}, window))
    [(_, used, left)] = cursor.fetchall()
    return Counted(used, _whole_seconds(left))


def counting(amounts: Mapping[str, int]) -> Callable[[], CountedAll]:
    """Add to counters of the current minute, and return what fetches their values: see `send_statement`.

    They are written in the order of their keys, so that two processes never wait in a circle.
    """
    if not amounts:
        return lambda: CountedAll({}, MINUTE)
    stored: Tally[str] = Tally()
    for key, amount in amounts.items():
        stored[key[:MAX_KEY]] += amount
    fetch, asked = send_statement(*_counting(stored, MINUTE)), list(amounts)

    def fetched() -> CountedAll:
        rows = fetch()
        used = {key: count for key, count, _ in rows}
        return CountedAll({key: used[key[:MAX_KEY]] for key in asked}, _whole_seconds(rows[0][2]))

    return fetched


class CountedAhead:
    """The events of a batch, counted before it is known which of them happen; the others are given back at its end.

    The values are fetched when they are used: see `send_statement`.
    """

    def __init__(self, amounts: Mapping[str, int]) -> None:
        self._amounts = dict(amounts)
        self._left = Tally(amounts)
        self._fetch = counting(self._amounts)

    @cached_property
    def _counted(self) -> CountedAll:
        return self._fetch()

    @cached_property
    def used(self) -> dict[str, int]:
        """The counters without this batch, but for what happened of it."""
        return {key: used - self._amounts[key] for key, used in self._counted.used.items()}

    @property
    def seconds_left(self) -> int:
        return self._counted.seconds_left

    def happens(self, key: str, amount: int) -> None:
        """Note that this much of what was counted ahead is kept."""
        self.used[key] += amount
        self._left[key] -= amount

    def close(self, cursor: Any) -> None:
        """Give back the rest, in the order of the keys."""
        for key, amount in sorted(self._left.items()):
            if amount:
                give_back(cursor, key, amount=amount)


def _counting(amounts: Mapping[str, int], window: int) -> tuple[str, list[str | int]]:
    values = [value for pair in sorted(amounts.items()) for value in pair]
    return _count_sql(connection.vendor, database_clock(), window, len(amounts)), values


def give_back(cursor: Any, key: str, *, amount: int = 1, window: int = MINUTE) -> None:
    """Subtract `amount` from the counter of `key`: it was counted beforehand, but did not happen."""
    number = _WHOLE[connection.vendor].format(f"{database_clock()} / {window}")
    cursor.execute(
        f'UPDATE {_TABLE} SET "count" = "count" - %s '  # noqa: S608  no input in the text
        f'WHERE "key" = %s AND "window" = {number} AND "count" >= %s',
        [amount, key[:MAX_KEY], amount],
    )


def reading(keys: Collection[str]) -> Callable[[], dict[str, int]]:
    """Read counters of the current minute, and return what fetches those that something was counted in."""
    if not keys:
        return dict
    number = _WHOLE[connection.vendor].format(f"{database_clock()} / {MINUTE}")
    fetch = send_statement(
        f'SELECT "key", "count" FROM {_TABLE} WHERE "key" IN ({marks(keys)}) AND "window" = {number}',  # noqa: S608
        list(keys),
    )
    return lambda: dict(fetch())


def used(keys: Collection[str]) -> dict[str, int]:
    """Return the counters of `keys` in the current minute, without those that nothing was counted in."""
    return reading(keys)()


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


def counters_of(who: Principal, kind: str, setting: str, name: str) -> list[Counter]:
    """Return the counters of a caller's events of a `kind`, none if nothing of it is counted.

    The first is the account's or the address's, whose limit is the setting's or the override `name`; another one is
    that of the key in use, if it has a limit of its own.
    """
    if not who.is_counted:
        return []
    own, its = getattr(who.limits.account, name), getattr(who.limits.key, name)
    limit = (own.value, own.name) if own is not None else (getattr(settings, setting), setting)
    counters = [Counter(f"{kind}:{who.limit_key}", *limit)]
    return counters if its is None else [*counters, Counter(key_counter(who, kind), its.value, its.name)]


def key_counter(who: Principal, kind: str) -> str:
    """Return what events of a `kind` with the caller's key are counted under. It has the user's id, for its erasure."""
    return f"{kind}:{who.user_id.hex}:{who.key_id.hex if who.key_id else ''}"


def read_counters(who: Principal) -> list[Counter]:
    """Return the counters of a caller's requests that start no answer, without those that have no limit."""
    counters = counters_of(who, "reads", "LIMIT_READS_PER_MINUTE", "reads_per_minute")
    return [counter for counter in counters if counter.limit]


def enforce_reads(who: Principal) -> None:
    """Count a request that starts no answer; raises RateLimited."""
    # The key's first: what its limit refuses does not count for the user.
    for key, limit, name in reversed(read_counters(who)):
        if wait := hit(key, limit=limit):
            raise RateLimited(f"At most {limit} requests a minute ({name}).", retry_after=wait)


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
