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
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings

from accounts import throttling
from accounts.callers import Principal
from accounts.models import User
from accounts.throttling import CountedAhead, Counter, Rate
from completions import token_rates
from completions.bulk_sql import table
from completions.exceptions import TooManyRuns
from completions.models import Run
from foundation.database import send_statement
from foundation.row_sql import key

if TYPE_CHECKING:
    from completions.run_requests import RunRequest

# Guests are told apart only by their address, so the smaller of their two limits applies.
RUNNING = {False: ("LIMIT_RUNS_PER_USER",), True: ("LIMIT_RUNS_PER_GUEST", "LIMIT_RUNS_PER_IP")}
RUNNING_OF = f"SELECT sum(choices) FROM {table(Run)} WHERE {{}} AND state = 'running'"  # noqa: S608
# A look by index for each account: joined, and without statistics, PostgreSQL would read all that runs anywhere.
RUNNING_OF_SHARING = (
    f"SELECT sum(({RUNNING_OF.format('user_id = sharing.id')})) "  # noqa: S608
    f"FROM {table(User)} sharing WHERE id = %s OR limits_owner_id = %s"
)
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
    """The limits for one batch of questions. Everything is asked for when it is made, and fetched when it is used."""

    def __init__(self, cursor: Any, run_requests: Sequence[RunRequest]) -> None:
        self._cursor = cursor
        starts: Tally[str] = Tally()
        self._limits: dict[int, _Limits] = {}
        running: dict[str, Principal] = {}
        tokens: set[str] = set()
        for request in run_requests:
            limits = self._limits_on(request)
            for counter in limits.starts:
                starts[counter.key] += request.choices
            running |= {counter.key: request.principal for counter in limits.running if counter.limit}
            tokens |= {counter.key for counter in limits.tokens}
        self._started = CountedAhead(starts)
        self._fetch_tokens = throttling.reading(tokens)
        self._fetch_running = {rate_key: _count_running(who, rate_key) for rate_key, who in running.items()}

    @cached_property
    def _tokens(self) -> dict[str, int]:
        return self._fetch_tokens()

    @cached_property
    def _running(self) -> dict[str, int]:
        """How many answers are written now, with those of this batch that were admitted."""
        return {rate_key: int(fetch()[0][0] or 0) for rate_key, fetch in self._fetch_running.items()}

    def check(self, request: RunRequest, *, waits: bool = False) -> None:
        """Admit all answers to one more question, or none; raises TooManyRuns. `waits`: they do not run yet."""
        wanted, limits = request.choices, self._limits_on(request)
        for rate_key, limit, name in limits.starts:
            if limit and self._started.used[rate_key] + wanted > limit:
                problem = f"At most {limit} answers can be started per minute ({name})"
                raise TooManyRuns(_with_n(problem, wanted), retry_after=self._started.seconds_left)
        for rate_key, limit, name in limits.tokens:
            if self._tokens.get(rate_key, 0) >= limit:
                problem = f"At most {limit} tokens can be used per minute ({name})."
                raise TooManyRuns(problem, retry_after=self._started.seconds_left)
        for rate_key, limit, name in () if waits else limits.running:
            if limit and self._running[rate_key] + wanted > limit:
                problem = f"At most {limit} answers can be written at once ({name})"
                raise TooManyRuns(_with_n(problem, wanted), retry_after=1)

    def admitted(self, request: RunRequest, *, waits: bool = False) -> None:
        """Count the answers that the batch is about to insert."""
        limits = self._limits_on(request)
        for rate_key, _, _ in limits.starts:
            self._started.happens(rate_key, request.choices)
        for rate_key in () if waits else {limit.key for limit in limits.running}:
            if rate_key in self._running:
                self._running[rate_key] += request.choices

    def rates(self, request: RunRequest) -> tuple[Rate, ...]:
        """Return how much of its limits a minute the caller used: of those on answers and on tokens the tightest."""
        limits, left = self._limits_on(request), self._started.seconds_left
        answers = [Rate(REQUESTS, each.limit, self._started.used[each.key], left) for each in limits.starts]
        tokens = [Rate(TOKENS, each.limit, self._tokens.get(each.key, 0), left) for each in limits.tokens]
        limited = ([rate for rate in rates if rate.limit] for rates in (answers, tokens))
        return tuple(min(rates, key=lambda rate: rate.remaining) for rates in limited if rates)

    def close(self) -> None:
        """Uncount the questions that start no run."""
        self._started.close(self._cursor)

    def _limits_on(self, request: RunRequest) -> _Limits:
        """Return the limits of a question's caller, found once for all its questions in this batch."""
        who = request.principal
        found = self._limits.get(id(who))  # by identity: callers that are equal may come with different limits
        if found is None:
            found = _Limits(start_counters(who), running_limits(who), token_rates.counters(who))
            self._limits[id(who)] = found
        return found


def _count_running(who: Principal, rate_key: str) -> Callable[[], list[tuple[Any, ...]]]:
    """Count the running answers under `rate_key`: those of the key, or all of the user or the address."""
    if rate_key == throttling.key_counter(who, KIND):
        return send_statement(
            RUNNING_OF.format("user_id = %s AND api_key_id = %s"), [key(who.user_id), key(who.key_id)]
        )
    if who.has_guest_limits:
        return send_statement(RUNNING_OF.format("address = %s"), [who.limit_key])
    return send_statement(RUNNING_OF_SHARING, [key(who.counted_id)] * 2)


def _with_n(problem: str, wanted: int) -> str:
    return f"{problem}; this request's n asks for {wanted}." if wanted > 1 else f"{problem}."
