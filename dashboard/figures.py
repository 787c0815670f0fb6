"""The figures by day: each is a query over an index. Today is counted each time, a day that is over once.

Nobody waits for all days to be counted: at first a request counts as many as BUDGET_SECONDS allows, the newest first,
and the next one goes on. Later each counts the day anew that was counted longest ago, since accounts may be erased.
Percentiles are computed from buckets 10 % wide, which any database can count.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from django.db import connection
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from completions.models import Run
from conversations.models import Conversation, Message
from foundation.ids import first_id_of
from search import timings

DAYS = 30
BUDGET_SECONDS = 0.06
"""For how long a request goes on counting days of one figure that are not known yet."""
STEP = 1.1  # the width of a bucket
MOST = 10
Day = dt.date
ONE_DAY = dt.timedelta(days=1)
Row = list[float | None]
DayQuery = Callable[[Day, Day], dict[Day, Any]]
"""Returns a figure by day, from one day to before another; days of which there is nothing may be missing."""
_past: dict[str, dict[Day, tuple[float, Any]]] = {}


def days() -> list[Day]:
    """Return the days shown, today (UTC) last."""
    today = timezone.now().date()
    return [today - dt.timedelta(days=back) for back in range(DAYS - 1, -1, -1)]


def midnight(day: Day) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def forget() -> None:
    """Drop what is cached, so that all days are queried again."""
    _past.clear()


def started_conversations() -> Row:
    return _counted("conversations", Conversation.objects.all())


def messages() -> Row:
    return _counted("messages", Message.objects.all())


def tokens() -> tuple[Row, Row]:
    """Return prompt and completion tokens by day, as far as the models' servers sent them."""

    def ask(first: Day, end: Day) -> dict[Day, tuple[float, float]]:
        rows = (
            Run.objects.filter(finished_at__gte=midnight(first), finished_at__lt=midnight(end))
            .annotate(day=TruncDate("finished_at"))
            .values("day")
            .annotate(
                asked=Sum("input_tokens"),
                answered=Sum("output_tokens"),
            )
            .values_list("day", "asked", "answered")
        )
        return {day: (float(asked or 0), float(answered or 0)) for day, asked, answered in rows}

    found = _remembered("tokens", ask, (0.0, 0.0))
    return [found[day] and found[day][0] for day in days()], [found[day] and found[day][1] for day in days()]


def times_to(column: str) -> tuple[Row, Row]:
    """Return by day the p50 and p95, in milliseconds, of how long runs took to `first_token_at` or `finished_at`.

    A run that was queued is measured from its start.
    """
    if column not in ("first_token_at", "finished_at"):
        raise ValueError(column)
    began = "coalesce(started_at, created_at)"
    if connection.vendor == "postgresql":
        elapsed = f"extract(epoch from ({column} - {began})) * 1000"
        day = "(finished_at AT TIME ZONE 'UTC')::date"
    else:
        elapsed = f"(julianday({column}) - julianday({began})) * 86400000.0"
        day = "date(finished_at)"
    bucket = f"floor(ln(CASE WHEN {elapsed} < 1 THEN 1 ELSE {elapsed} END) / {math.log(STEP)})"

    def ask(first: Day, end: Day) -> dict[Day, list[tuple[float, int]]]:
        bounds = [midnight(first), midnight(end)]
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {day}, {bucket}, count(*) FROM {Run._meta.db_table} "  # noqa: S608  no input in the text
                f"WHERE finished_at >= %s AND finished_at < %s AND {column} IS NOT NULL GROUP BY 1, 2",
                bounds
                if connection.vendor == "postgresql"
                else [each.replace(tzinfo=None).isoformat(" ") for each in bounds],
            )
            rows = cursor.fetchall()
        return by_day((as_date(day), STEP ** (float(bucket) + 0.5), count) for day, bucket, count in rows)

    return percentiles(_remembered(column, ask, []))


def search_times() -> tuple[Row, Row, float]:
    """Return by day the p50 and p95 of searches in milliseconds, and the number of searches."""
    timings.write()
    found = by_day(timings.counted_since(days()[0]))
    middle, slow = percentiles(found)
    return middle, slow, sum(count for rows in found.values() for _, count in rows)


def by_day(rows: Iterable[tuple[Day, float, int]]) -> dict[Day, list[tuple[float, int]]]:
    """Group (day, milliseconds, how many) by day."""
    found: dict[Day, list[tuple[float, int]]] = defaultdict(list)
    for day, milliseconds, count in rows:
        found[day].append((milliseconds, count))
    return dict(found)


def percentiles(found: dict[Day, list[tuple[float, int]]]) -> tuple[Row, Row]:
    """Return p50 and p95 by day; None for a day without measurements."""
    return [_percentile(found.get(day) or [], 0.5) for day in days()], [
        _percentile(found.get(day) or [], 0.95) for day in days()
    ]


def errors_by(name: str) -> list[tuple[str, int]]:
    """Return what failed most often: by `error_code`, `model` or `user__username`."""
    failed = Run.objects.filter(~Q(error_code=""), id__gte=first_id_of(midnight(days()[0])))
    rows = failed.values(name).annotate(count=Count("pk")).order_by("-count", name)[:MOST]
    return [(str(row[name]), row["count"]) for row in rows]


def as_date(value: Any) -> Day:
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(value)


def first_counted() -> Day:
    """Return the first day of those shown from which on all figures are known."""
    shown = days()[:-1]
    missing = [day for day in shown if any(day not in known for known in _past.values())]
    return missing[-1] + ONE_DAY if missing else days()[0]


def _counted(name: str, rows: QuerySet[Any]) -> Row:
    def ask(first: Day, end: Day) -> dict[Day, int]:
        of_days = rows.filter(id__gte=first_id_of(midnight(first)), id__lt=first_id_of(midnight(end)))
        by = of_days.annotate(day=TruncDate("created_at")).values("day").annotate(count=Count("pk"))
        return dict(by.values_list("day", "count"))

    found = _remembered(name, ask, 0)
    return [None if found[day] is None else float(found[day]) for day in days()]


def _remembered(name: str, ask: DayQuery, nothing: Any) -> dict[Day, Any]:
    """Return a figure of all days; None for those that are not counted yet."""
    *past, today = days()
    known = {day: kept for day, kept in _past.get(name, {}).items() if day in past}
    _past[name] = known

    def count(first: Day, end: Day) -> None:
        found, now = ask(first, end), time.monotonic()
        for day in (first + number * ONE_DAY for number in range((end - first).days)):
            known[day] = (now, found.get(day, nothing))

    if len(known) < len(past):
        _count_missing(past, known, count)
    else:
        anew = min(past, key=lambda day: (known[day][0], day))
        count(anew, anew + ONE_DAY)
    result = {day: known[day][1] if day in known else None for day in past}
    return {**result, today: ask(today, today + ONE_DAY).get(today, nothing)}


def _count_missing(past: list[Day], known: dict[Day, Any], count: Callable[[Day, Day], None]) -> None:
    """Count days that are not known, the newest first: one, then twice as many each time, as the time allows."""
    until, at_once = time.monotonic() + BUDGET_SECONDS, 1
    end = next(day for day in reversed(past) if day not in known) + ONE_DAY
    while end > past[0]:
        began, first = time.monotonic(), max(end - at_once * ONE_DAY, past[0])
        count(first, end)
        now = time.monotonic()
        if now + 2 * (now - began) > until:
            break
        end, at_once = first, 2 * at_once


def _percentile(rows: list[tuple[float, int]], share: float) -> float | None:
    wanted = share * sum(count for _, count in rows)
    passed = 0
    for milliseconds, count in sorted(rows):
        passed += count
        if passed >= wanted:
            return milliseconds
    return None
