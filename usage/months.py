"""Sums up months that are over, for pages and reports over many of them: days are added up once and not each time.

A charge is added in seconds after the time that it counts for. A month is summed up when it has been over for two days,
so its days change only when the ledger is rebuilt or an account or a group is deleted.
"""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Any

from django.db.models import Min, Sum
from django.utils import timezone

from usage.ledger import AMOUNTS, KEYS
from usage.models import DailyUsage, MonthlyUsage
from usage.periods import day_of
from usage.row_ids import row_id

WAIT = dt.timedelta(days=2)
SAME = KEYS[1:]
"""What rows of a month have in common that are added up: all but the day."""


def month_of(day: dt.date) -> dt.date:
    return day.replace(day=1)


def next_month(month: dt.date) -> dt.date:
    return (month + dt.timedelta(days=32)).replace(day=1)


def months_between(first: dt.date, last: dt.date) -> list[dt.date]:
    """Return the first days of the months from that of one day to that of another, both included."""
    found = [month_of(first)]
    while found[-1] < month_of(last):
        found.append(next_month(found[-1]))
    return found


def summed_months() -> set[dt.date]:
    return set(MonthlyUsage.objects.order_by().values_list("month", flat=True).distinct())


def sum_up_months() -> int:
    """Sum up each month that is over and is not summed up yet; returns how many were."""
    first = DailyUsage.objects.aggregate(first=Min("day"))["first"]
    end = month_of(day_of(timezone.now() - WAIT))
    if first is None or month_of(first) >= end:
        return 0
    known, done = summed_months(), 0
    for month, following in pairwise(months_between(first, end)):
        if month not in known:
            done += _sum_up(month, following)
    return done


def forget_months() -> None:
    """Have all months summed up again: call it when rows of past days were changed."""
    MonthlyUsage.objects.all().delete()


def _sum_up(month: dt.date, following: dt.date) -> bool:
    rows = DailyUsage.objects.filter(day__gte=month, day__lt=following).order_by()
    summed = rows.values_list(*SAME).annotate(*(Sum(name) for name in AMOUNTS))
    made = [_row(month, each[: len(SAME)], each[len(SAME) :]) for each in summed]
    # All of them in one transaction; another process may do the same at the same time, with the same ids.
    MonthlyUsage.objects.bulk_create(made, batch_size=500, ignore_conflicts=True)
    return bool(made)


def _row(month: dt.date, key: tuple[Any, ...], sums: tuple[int, ...]) -> MonthlyUsage:
    user_id, api_key_id, group_id, model, upstream = key
    amounts = dict(zip(AMOUNTS, map(int, sums), strict=True))
    return MonthlyUsage(
        id=row_id(month, *key),
        month=month,
        user_id=user_id,
        api_key_id=api_key_id,
        group_id=group_id,
        model=model,
        upstream=upstream,
        **amounts,
    )
