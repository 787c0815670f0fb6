"""Limits the tokens of a caller in a minute: counted when answers end, so it is a brake, and no exact budget.

What was counted in the current minute stops further starts; nothing is reserved for answers that are still written.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence

from django.conf import settings

from accounts import throttling
from accounts.callers import Principal
from accounts.limits import NO_LIMITS
from accounts.throttling import Counter

KIND, SETTING = "tokens", "LIMIT_TOKENS_PER_MINUTE"
MAX_AMOUNT = 2**40
"""The most that one answer counts, whatever its upstream reports: a counter must not overflow."""


def counters(who: Principal) -> list[Counter]:
    """Return what the tokens of this caller are counted under, if there is a limit on them."""
    if who.limits is NO_LIMITS and not settings.LIMIT_TOKENS_PER_MINUTE:
        return []
    return [each for each in throttling.counters_of(who, KIND, SETTING, "tokens_per_minute") if each.limit]


def keys_of(who: Principal) -> tuple[str, ...]:
    """Return the counters in which the tokens of this caller's answers count."""
    return tuple(counter.key for counter in counters(who))


def count(uses: Iterable[tuple[Sequence[str], int]]) -> None:
    """Count the tokens of answers that end in this transaction; at its end, and in the order that all others keep."""
    total: Tally[str] = Tally()
    for keys, tokens in uses:
        total.update(dict.fromkeys(keys, tokens))
    throttling.counting({key: min(amount, MAX_AMOUNT) for key, amount in total.items() if amount})
