"""Limits how many answers a caller may start: counted in the accept transaction, exact across processes.

`Principal.limit_key` says who is counted: the user, or the address of a guest. Guests of this machine are not counted
at all (`Principal.is_counted`). `n` answers to one question count as n. Each caller's counter is written first, in key
order, so accepts of one caller wait for each other, and the count of running answers that follows cannot be outdated.
Refusals are not counted: a client that is told to retry in a second may do so for the whole minute. A question that
waits in its conversation counts as started in the minute in which it is accepted, but not as running: later its run
takes the place of the one before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.conf import settings

from accounts import throttling
from accounts.callers import Principal
from completions.bulk_sql import SHARING_LIMITS, key, table
from completions.exceptions import TooManyRuns
from completions.models import Run

if TYPE_CHECKING:
    from completions.run_requests import RunRequest

# Guests are told apart only by their address, so the smaller of their two limits applies.
RUNNING = {False: ("LIMIT_RUNS_PER_USER",), True: ("LIMIT_RUNS_PER_GUEST", "LIMIT_RUNS_PER_IP")}
STARTED = {False: "LIMIT_RUN_STARTS_PER_MINUTE", True: "LIMIT_GUEST_RUN_STARTS_PER_MINUTE"}


def max_starts(who: Principal) -> int:
    """Return how many answers this caller may start in a minute; 0 is any number."""
    return int(getattr(settings, STARTED[who.has_guest_limits])) if who.is_counted else 0


class Admission:
    """The limits for one batch of questions."""

    def __init__(self, cursor: Any, run_requests: Sequence[RunRequest]) -> None:
        self._cursor = cursor
        self._started: dict[str, int] = {}
        self._running: dict[str, int] = {}
        self._seconds_left = 0
        self._not_admitted: Counter[str] = Counter()
        for request in run_requests:
            if request.principal.is_counted:
                self._not_admitted[_rate_key(request)] += request.choices
        for rate_key, amount in sorted(self._not_admitted.items()):
            used, self._seconds_left = throttling.count(cursor, rate_key, amount=amount)
            self._started[rate_key] = used - amount

    def check(self, request: RunRequest, *, waits: bool = False) -> None:
        """Admit all answers to one more question, or none; raises TooManyRuns. `waits`: they do not run yet."""
        if not request.principal.is_counted:
            return
        guest, wanted = request.principal.has_guest_limits, request.choices
        setting = STARTED[guest]
        limit, started = getattr(settings, setting), self._started[_rate_key(request)]
        if limit and started + wanted > limit:
            problem = f"At most {limit} answers can be started per minute ({setting})"
            raise TooManyRuns(_with_n(problem, wanted), retry_after=self._seconds_left)
        for setting in () if waits else RUNNING[guest]:
            limit = getattr(settings, setting)
            if limit and self._running_for(request) + wanted > limit:
                problem = f"At most {limit} answers can be written at once ({setting})"
                raise TooManyRuns(_with_n(problem, wanted), retry_after=1)

    def admitted(self, request: RunRequest, *, waits: bool = False) -> None:
        """Count the answers that the batch is about to insert."""
        if not request.principal.is_counted:
            return
        rate_key = _rate_key(request)
        self._started[rate_key] += request.choices
        self._not_admitted[rate_key] -= request.choices
        if rate_key in self._running and not waits:
            self._running[rate_key] += request.choices

    def starts(self, request: RunRequest) -> throttling.Counted:
        """Return how many answers the caller started in this minute, and how many seconds of it are left."""
        return throttling.Counted(self._started.get(_rate_key(request), 0), self._seconds_left)

    def close(self) -> None:
        """Uncount the questions that start no run."""
        for rate_key, amount in sorted(self._not_admitted.items()):
            if amount:
                throttling.give_back(self._cursor, rate_key, amount=amount)

    def _running_for(self, request: RunRequest) -> int:
        who = request.principal
        rate_key = _rate_key(request)
        if rate_key not in self._running:
            where = "address = %s" if who.has_guest_limits else f"user_id IN ({SHARING_LIMITS})"
            self._cursor.execute(
                f"SELECT coalesce(sum(choices), 0) FROM {table(Run)} WHERE {where} AND state = 'running'",  # noqa: S608
                [who.limit_key] if who.has_guest_limits else [key(who.counted_id)] * 2,
            )
            self._running[rate_key] = int(self._cursor.fetchone()[0])
        return self._running[rate_key]


def _rate_key(request: RunRequest) -> str:
    return f"runs:{request.principal.limit_key}"


def _with_n(problem: str, wanted: int) -> str:
    return f"{problem}; this request's n asks for {wanted}." if wanted > 1 else f"{problem}."
