"""What was used in a period, by day, month, group, user, key, model or upstream: read from the ledger alone."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.contrib.auth.models import AnonymousUser, Group
from django.db.models import Q, Sum

from accounts.models import ApiKey, User
from accounts.subject_limits import groups_owned_by
from usage.ledger import AMOUNTS
from usage.models import DailyUsage, MonthlyUsage
from usage.months import month_of, months_between, next_month, summed_months

COLUMNS = {"group": "group_id", "user": "user_id", "key": "api_key_id", "model": "model", "upstream": "upstream"}
"""What usage can be broken down by, besides time, and the field of the ledger."""
DIMENSIONS = (*COLUMNS, "day", "month")
ORDER = ("cost", "input_tokens", "output_tokens", "requests")
"""By what lines are ordered that are not of a day or a month: the most first."""
ONE_DAY = dt.timedelta(days=1)
Totals = dict[Any, Counter[str]]


@dataclass(frozen=True)
class Selection:
    """Which usage is asked for: from one day to another (both included), with these values of the ledger's fields."""

    since: dt.date
    until: dt.date
    fields: Mapping[str, Any] = field(default_factory=dict)
    visible: Q = field(default_factory=Q)

    @cached_property
    def summed(self) -> set[dt.date]:
        """Return the months that are summed up; reads the database once."""
        return summed_months()

    @property
    def condition(self) -> Q:
        return self.visible & Q(**self.fields)


@dataclass(frozen=True, slots=True)
class Line:
    """What was used by one user, of one model, on one day ... `key` is the ledger's value, `label` says it in words."""

    key: Any
    label: str
    amounts: Counter[str]


def visible_usage(user: User | AnonymousUser) -> Q | None:
    """Return the condition on the rows of the ledger that somebody may see in the admin; None: not even the page.

    The owners of groups see what was used in these groups' names.
    """
    if user.has_perm("usage.view_dailyusage"):
        return Q()
    owned = list(groups_owned_by(user).values_list("pk", flat=True)) if isinstance(user, User) else []
    return Q(group__in=owned) if owned else None


def totals(selection: Selection, by: str) -> Totals:
    """Add up usage by one of DIMENSIONS. Months that are over are read as sums, unless it is by day."""
    if by not in DIMENSIONS:
        raise ValueError(by)
    months, ranges = _parts(selection, set() if by == "day" else selection.summed)
    found: Totals = {}
    if ranges:
        in_ranges = Q()
        for since, until in ranges:
            in_ranges |= Q(day__gte=since, day__lte=until)
        rows = DailyUsage.objects.filter(in_ranges, selection.condition)
        for key, sums in _summed(rows, COLUMNS.get(by, "day")):
            _add(found, month_of(key) if by == "month" else key, sums)
    if months:
        rows_of_months = MonthlyUsage.objects.filter(selection.condition, month__in=months)
        for key, sums in _summed(rows_of_months, COLUMNS.get(by, "month")):
            _add(found, key, sums)
    return found


def lines_of(found: Totals, by: str, most: int | None = None) -> list[Line]:
    """Return totals as lines: the newest day first, or else what costs most. Beyond `most` lines the rest is one."""
    if by in ("day", "month"):
        ordered = sorted(found.items(), reverse=True)
    else:
        ordered = sorted(found.items(), key=lambda each: (*map(each[1].__getitem__, ORDER), str(each[0])), reverse=True)
    shown, rest = (ordered, []) if most is None else (ordered[:most], ordered[most:])
    labels = labels_of(by, [key for key, _ in shown])
    lines = [Line(key, labels[key], amounts) for key, amounts in shown]
    return [*lines, Line(None, f"{len(rest)} others", total(each for _, each in rest))] if rest else lines


def total(amounts: Iterable[Counter[str]]) -> Counter[str]:
    found: Counter[str] = Counter(dict.fromkeys(AMOUNTS, 0))
    for each in amounts:
        found.update(each)
    return found


def labels_of(by: str, keys: Collection[Any]) -> dict[Any, str]:
    """Return what values of a field are called. Uses the database."""
    match by:
        case "day":
            return {day: f"{day:%Y-%m-%d}" for day in keys}
        case "month":
            return {day: f"{day:%Y-%m}" for day in keys}
        case "user":
            names: dict[Any, str] = dict(User.objects.filter(pk__in=keys).values_list("pk", "username"))
            return _named(keys, names, "accounts that were erased")
        case "group":
            return _named(keys, dict(Group.objects.filter(pk__in=keys).values_list("pk", "name")), "no group")
        case "key":
            known = ApiKey.objects.filter(pk__in=keys).select_related("user").only("name", "kid", "user__username")
            return _named(keys, {key.pk: f"{key} of {key.user.username}" for key in known}, "no key")
    return {key: key or "none" for key in keys}


def _named(keys: Collection[Any], names: Mapping[Any, str], nothing: str) -> dict[Any, str]:
    """Return names by key: of None, and of what is deleted, too."""
    return {key: nothing if key is None else names.get(key, f"deleted ({_short(key)})") for key in keys}


def _short(key: Any) -> str:
    return str(key)[-12:] if isinstance(key, uuid.UUID) else str(key)


def _parts(selection: Selection, known: set[dt.date]) -> tuple[list[dt.date], list[tuple[dt.date, dt.date]]]:
    """Divide a period into whole months that are summed up, and ranges of the other days."""
    months: list[dt.date] = []
    ranges: list[tuple[dt.date, dt.date]] = []
    for month in months_between(selection.since, selection.until):
        first, last = max(month, selection.since), min(next_month(month) - ONE_DAY, selection.until)
        if month in known and first == month and last + ONE_DAY == next_month(month):
            months.append(month)
        elif ranges and ranges[-1][1] + ONE_DAY == first:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    return months, ranges


def _summed(rows: Any, column: str) -> Iterable[tuple[Any, tuple[int, ...]]]:
    sums = rows.order_by().values_list(column).annotate(*(Sum(name) for name in AMOUNTS))
    return ((key, tuple(map(int, values))) for key, *values in sums)


def _add(found: Totals, key: Any, sums: tuple[int, ...]) -> None:
    found.setdefault(key, Counter(dict.fromkeys(AMOUNTS, 0))).update(dict(zip(AMOUNTS, sums, strict=True)))
