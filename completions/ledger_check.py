"""Adds up stored runs as the ledger does, and compares: one day at a time, in one transaction each."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Max, Min

from completions.models import UNFINISHED, Run
from usage import ledger
from usage.ledger import AMOUNTS, Charge
from usage.models import DailyUsage
from usage.months import forget_months
from usage.periods import bounds_of, day_of
from usage.prices import Tokens

Key = tuple[dt.date, uuid.UUID, uuid.UUID | None, str, str]
"""Day, user, key, model and upstream: the group is the one that the user had then."""


@dataclass(frozen=True, slots=True)
class Difference:
    key: Key
    ledger: Counter[str]
    runs: Counter[str]

    @property
    def is_more(self) -> bool:
        """Tell whether the ledger has more requests than runs are stored."""
        return self.ledger["requests"] > self.runs["requests"]


def differences(*, since: dt.date | None = None) -> Iterator[tuple[dt.date, list[Difference]]]:
    """Yield each day that has runs or rows, with the rows that differ."""
    over = Run.objects.exclude(state__in=UNFINISHED).exclude(finished_at=None)
    runs = over.aggregate(first=Min("finished_at"), last=Max("finished_at"))
    rows = DailyUsage.objects.exclude(user=None).aggregate(first=Min("day"), last=Max("day"))
    days = [day_of(at) for at in runs.values() if at] + [day for day in rows.values() if day]
    if not days:
        return
    day, last = max(min(days), since or min(days)), max(days)
    while day <= last:
        yield day, _compared(day)
        day += dt.timedelta(days=1)


@transaction.atomic
def repair(found: Sequence[Difference]) -> None:
    """Write what the runs say into the ledger."""
    if found:
        forget_months()
    for difference in found:
        day, user_id, key_id, model, upstream = difference.key
        rows = DailyUsage.objects.filter(day=day, user=user_id, api_key_id=key_id, model=model, upstream=upstream)
        # The group as it was, where one is known.
        group = rows.order_by("-requests").values_list("group", flat=True).first()
        rows.delete()
        if difference.runs["requests"]:
            ledger.write_again((day, user_id, key_id, group, model, upstream), difference.runs)


@transaction.atomic
def _compared(day: dt.date) -> list[Difference]:
    runs = _from_runs(day)
    rows: dict[Key, Counter[str]] = {}
    for row in DailyUsage.objects.filter(day=day).exclude(user=None):
        assert row.user_id is not None
        key = (day, row.user_id, row.api_key_id, row.model, row.upstream)
        rows.setdefault(key, Counter()).update({name: getattr(row, name) for name in AMOUNTS})
    empty: Counter[str] = Counter()
    both = [(key, rows.get(key, empty), runs.get(key, empty)) for key in runs.keys() | rows.keys()]
    return [Difference(key, *each) for key, *each in sorted(both, key=lambda each: str(each[0])) if each[0] != each[1]]


def _from_runs(day: dt.date) -> dict[Key, Counter[str]]:
    start, end = bounds_of(day)
    runs = Run.objects.filter(finished_at__gte=start, finished_at__lt=end).exclude(state__in=UNFINISHED)
    found: dict[Key, Counter[str]] = {}
    for run in runs.only(*FIELDS).iterator(chunk_size=2_000):
        charge = _charge_of(run)
        key = (day, run.user_id, run.api_key_id, run.model, run.upstream)
        found.setdefault(key, Counter()).update(charge.amounts())
    return found


FIELDS = (
    *("id", "user_id", "api_key_id", "model", "upstream", "state", "finished_at", "is_estimate", "cost"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"),
)


def _charge_of(run: Run) -> Charge:
    assert run.finished_at is not None
    return Charge(
        user_id=run.user_id,
        api_key_id=run.api_key_id,
        model=run.model,
        upstream=run.upstream,
        at=run.finished_at,
        tokens=Tokens(
            input=run.input_tokens or 0,
            cached=run.cached_tokens or 0,
            output=run.output_tokens or 0,
            reasoning=run.reasoning_tokens or 0,
        ),
        is_estimate=bool(run.is_estimate),
        cost=run.cost,
        failed=run.state in (Run.State.FAILED, Run.State.INTERRUPTED),
    )
