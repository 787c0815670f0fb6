"""Limits how many answers a caller may start: counted in the accept transaction, exact across processes.

`Principal.limit_key` says who is counted: the user, or the address of a guest; a key that has limits of its own is
counted beside its user, and a question must pass both. Guests of this machine are not counted at all
(`Principal.is_counted`). `n` answers to one question count as n. Each caller's counters are written first, in the order
of their keys, so accepts of one caller wait for each other, and the count of running answers that follows cannot be
outdated. Refusals are not counted: a client that is told to retry in a second may do so for the whole minute. A
question that waits in its conversation counts as started in the minute in which it is accepted, but not as running:
later its run takes the place of the one before it. Tokens are counted when answers end (`token_rates.py`) and only
looked at here.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings

from accounts import throttling
from accounts.callers import Principal
from accounts.throttling import Counter, Rate
from completions import token_rates
from completions.bulk_sql import SHARING_LIMITS, table
from completions.exceptions import TooManyRuns
from completions.models import Run
from foundation.row_sql import key

if TYPE_CHECKING:
    from completions.run_requests import RunRequest

# Guests are told apart only by their address, so the smaller of their two limits applies.
RUNNING = {False: ("LIMIT_RUNS_PER_USER",), True: ("LIMIT_RUNS_PER_GUEST", "LIMIT_RUNS_PER_IP")}
KIND = "runs"
REQUESTS, TOKENS = "requests", "tokens"
STARTED = {False: "LIMIT_RUN_STARTS_PER_MINUTE", True: "LIMIT_GUEST_RUN_STARTS_PER_MINUTE"}


def start_counters(who: Principal) -> list[Counter]:
    """Return what the answers that this caller starts in a minute are counted under, and their limits."""
    counters = throttling.counters_of(who, KIND, STARTED[who.has_guest_limits], "starts_per_minute")
    its = who.limits.key
    if counters and its.runs_at_once is not None and its.starts_per_minute is None:
        # Its row is the lock under which the key's running answers are counted.
        counters.append(Counter(throttling.key_counter(who, KIND), 0, ""))
    return counters


def running_limits(who: Principal) -> list[Counter]:
    """Return the limits on the answers of this caller that are written at once, that of the key last."""
    if not who.is_counted:
        return []
    first, *others = RUNNING[who.has_guest_limits]
    account, *its = throttling.counters_of(who, KIND, first, "runs_at_once")
    return [account, *(Counter(account.key, getattr(settings, name), name) for name in others), *its]


def max_starts(who: Principal) -> int:
    """Return how many answers this caller may start in a minute; 0 is any number."""
    return next((counter.limit for counter in start_counters(who)), 0)


class _Limits(NamedTuple):
    """The limits of one caller: on answers in a minute, on answers at once, and on tokens in a minute."""

    starts: list[Counter]
    running: list[Counter]
    tokens: list[Counter]


class Admission:
    """The limits for one batch of questions."""

    def __init__(self, cursor: Any, run_requests: Sequence[RunRequest]) -> None:
        self._cursor = cursor
        self._started: dict[str, int] = {}
        self._running: dict[str, int] = {}
        self._seconds_left = 0
        self._not_admitted: Tally[str] = Tally()
        self._limits: dict[int, _Limits] = {}
        for request in run_requests:
            for counter in self._limits_on(request).starts:
                self._not_admitted[counter.key] += request.choices
        for rate_key, amount in sorted(self._not_admitted.items()):
            used, self._seconds_left = throttling.count(cursor, rate_key, amount=amount)
            self._started[rate_key] = used - amount
        tokens = {counter.key for limits in self._limits.values() for counter in limits.tokens}
        self._tokens = throttling.read(cursor, tokens) if tokens else {}

    def check(self, request: RunRequest, *, waits: bool = False) -> None:
        """Admit all answers to one more question, or none; raises TooManyRuns. `waits`: they do not run yet."""
        wanted, limits = request.choices, self._limits_on(request)
        for rate_key, limit, name in limits.starts:
            if limit and self._started[rate_key] + wanted > limit:
                problem = f"At most {limit} answers can be started per minute ({name})"
                raise TooManyRuns(_with_n(problem, wanted), retry_after=self._seconds_left)
        for rate_key, limit, name in limits.tokens:
            if self._tokens.get(rate_key, 0) >= limit:
                problem = f"At most {limit} tokens can be used per minute ({name})."
                raise TooManyRuns(problem, retry_after=self._seconds_left)
        for rate_key, limit, name in () if waits else limits.running:
            if limit and self._running_for(request, rate_key) + wanted > limit:
                problem = f"At most {limit} answers can be written at once ({name})"
                raise TooManyRuns(_with_n(problem, wanted), retry_after=1)

    def admitted(self, request: RunRequest, *, waits: bool = False) -> None:
        """Count the answers that the batch is about to insert."""
        limits = self._limits_on(request)
        for rate_key, _, _ in limits.starts:
            self._started[rate_key] += request.choices
            self._not_admitted[rate_key] -= request.choices
        for rate_key in () if waits else {limit.key for limit in limits.running}:
            if rate_key in self._running:
                self._running[rate_key] += request.choices

    def rates(self, request: RunRequest) -> tuple[Rate, ...]:
        """Return how much of its limits a minute the caller used: of those on answers and on tokens the tightest."""
        limits, left = self._limits_on(request), self._seconds_left
        answers = [Rate(REQUESTS, each.limit, self._started[each.key], left) for each in limits.starts]
        tokens = [Rate(TOKENS, each.limit, self._tokens.get(each.key, 0), left) for each in limits.tokens]
        limited = ([rate for rate in rates if rate.limit] for rates in (answers, tokens))
        return tuple(min(rates, key=lambda rate: rate.remaining) for rates in limited if rates)

    def close(self) -> None:
        """Uncount the questions that start no run."""
        for rate_key, amount in sorted(self._not_admitted.items()):
            if amount:
                throttling.give_back(self._cursor, rate_key, amount=amount)

    def _limits_on(self, request: RunRequest) -> _Limits:
        """Return the limits of a question's caller, found once for all its questions in this batch."""
        who = request.principal
        found = self._limits.get(id(who))  # by identity: callers that are equal may come with different limits
        if found is None:
            found = _Limits(start_counters(who), running_limits(who), token_rates.counters(who))
            self._limits[id(who)] = found
        return found

    def _running_for(self, request: RunRequest, rate_key: str) -> int:
        """Return how many answers run that count under `rate_key`: the key's, or all of the user or the address."""
        who = request.principal
        if rate_key not in self._running:
            where, given = f"user_id IN ({SHARING_LIMITS})", [key(who.counted_id)] * 2
            if rate_key == throttling.key_counter(who, KIND):
                where, given = "user_id = %s AND api_key_id = %s", [key(who.user_id), key(who.key_id)]
            elif who.has_guest_limits:
                where, given = "address = %s", [who.limit_key]
            self._cursor.execute(
                f"SELECT coalesce(sum(choices), 0) FROM {table(Run)} WHERE {where} AND state = 'running'",  # noqa: S608
                given,
            )
            self._running[rate_key] = int(self._cursor.fetchone()[0])
        return self._running[rate_key]


def _with_n(problem: str, wanted: int) -> str:
    return f"{problem}; this request's n asks for {wanted}." if wanted > 1 else f"{problem}."
