"""Who may start how many runs: counted in the accept transaction, exact across processes.

The counter row of each caller is written first, in key order. That row's lock makes accepts of one
caller wait for each other, so that the count of live runs that follows cannot be outdated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.conf import settings

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
        counted = Counter(_rate_key(ask) for ask in asks)
        for rate_key in sorted(counted):
            self._started[rate_key] = throttling.count(cursor, rate_key, amount=counted[rate_key])
        self._left = counted

    def check(self, ask: Ask) -> int:
        """Admit one more run, or raise TooManyRuns; returns how many its caller started in this minute."""
        who = ask.principal
        rate_key = _rate_key(ask)
        # The batch was counted at once; this is the place of `ask` in it.
        self._left[rate_key] -= 1
        place = self._started[rate_key] - self._left[rate_key]
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
        for entry in (("user_id", key(ask.principal.user_id)), ("address", ask.principal.address[:45])):
            if entry in self._live:
                self._live[entry] += 1

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
