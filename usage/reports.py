"""Totals of the ledger."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db.models import Sum

from accounts.callers import Principal
from usage.ledger import AMOUNTS
from usage.models import DailyUsage

MAX_DAYS = 366
SUMS = tuple(f"{name}__sum" for name in AMOUNTS)


@dataclass(frozen=True, slots=True)
class Used:
    """What was used of one model on one day. `cost` is in millionths of the currency."""

    day: dt.date
    model: str
    requests: int
    failed: int
    estimated: int
    unpriced: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: int


def usage_of(principal: Principal, *, since: dt.date) -> list[Used]:
    """Return a caller's usage since a day, by day and model, newest day first. Uses the database."""
    rows = DailyUsage.objects.visible_to(principal).filter(day__gte=since)
    sums = [Sum(name) for name in AMOUNTS]
    summed = rows.values("day", "model").annotate(*sums).values_list("day", "model", *SUMS)
    return [Used(*row) for row in summed.order_by("-day", "model")]
