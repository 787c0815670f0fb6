"""Who may start how many runs: counted in the accept transaction, exact across processes.

The counter row of each caller is written first, in key order; then, in order too, the addresses are
locked. Accepts of one caller or address wait for each other, so that the count of live runs that
follows cannot be outdated. What is refused in the end does not count: whoever is told to come again
in a second may do so all minute long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection

from accounts import throttling
from completions.exceptions import TooManyRuns
from completions.models import Run
from completions.statements import key, table

if TYPE_CHECKING:
    from completions.asks import Ask


class Admission:
    """The limits for one batch of questions."""

    def __init__(self, cursor: Any, asks: Sequence[Ask]) -> None:
        self._cursor = cursor
        self._started: dict[str, int] = {}
        self._live: dict[tuple[str, Any], int] = {}
        self._refused = Counter(_rate_key(ask) for ask in asks)  # until they are admitted
        for rate_key, amount in sorted(self._refused.items()):
            self._started[rate_key] = throttling.count(cursor, rate_key, amount=amount) - amount
        if settings.LIMIT_RUNS_PER_IP and connection.vendor == "postgresql":  # SQLite's writer is alone anyway
            for address in sorted({ask.principal.address for ask in asks} - {""}):
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"runs of {address}"])

    def check(self, ask: Ask) -> int:
        """Admit one more run, or raise TooManyRuns; returns how many its caller started in this minute."""
        who = ask.principal
        rate_key = _rate_key(ask)
        place = self._started[rate_key] + 1
        guest = who.is_guest
        rate = settings.LIMIT_GUEST_RUN_STARTS_PER_MINUTE if guest else settings.LIMIT_RUN_STARTS_PER_MINUTE
        if rate and place > rate:
            raise TooManyRuns(f"At most {rate} answers a minute can be started.", retry_after=throttling.seconds_left())
        limit = settings.LIMIT_RUNS_PER_GUEST if guest else settings.LIMIT_RUNS_PER_USER
        if limit and self._running("user_id", key(who.user_id)) >= limit:
            raise TooManyRuns(f"At most {limit} answers can be written at once.", retry_after=1)
        limit = settings.LIMIT_RUNS_PER_IP
        if limit and who.address and self._running("address", who.address[:45]) >= limit:
            raise TooManyRuns("Too many answers at once for this address.", retry_after=1)
        return place

    def admitted(self, ask: Ask) -> None:
        """Count a run that the batch is about to insert."""
        self._started[_rate_key(ask)] += 1
        self._refused[_rate_key(ask)] -= 1
        for entry in (("user_id", key(ask.principal.user_id)), ("address", ask.principal.address[:45])):
            if entry in self._live:
                self._live[entry] += 1

    def close(self) -> None:
        """Give back what was counted for questions that start no run."""
        for rate_key, amount in sorted(self._refused.items()):
            if amount:
                throttling.give_back(self._cursor, rate_key, amount=amount)

    def _running(self, column: str, value: Any) -> int:
        if (column, value) not in self._live:
            self._cursor.execute(
                f"SELECT count(*) FROM {table(Run)} WHERE {column} = %s AND state = 'running'",  # noqa: S608
                [value],
            )
            self._live[column, value] = self._cursor.fetchone()[0]
        return self._live[column, value]


def _rate_key(ask: Ask) -> str:
    return f"runs:{ask.principal.user_id.hex}"
