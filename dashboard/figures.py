"""The figures: each is one query over an index. Past days are queried once an hour, today each time.

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
PAST_SECONDS = 3_600
STEP = 1.1  # the width of a bucket
MOST = 10
Day = dt.date
Row = list[float | None]
_past: dict[str, tuple[float, Day, dict[Day, Any]]] = {}


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

    def ask(first: Day) -> dict[Day, tuple[float, float]]:
        rows = (
            Run.objects.filter(finished_at__gte=midnight(first))
            .annotate(day=TruncDate("finished_at"))
            .values("day")
            .annotate(
                asked=Sum("input_tokens"),
                answered=Sum("output_tokens"),
            )
            .values_list("day", "asked", "answered")
        )
        return {day: (float(asked or 0), float(answered or 0)) for day, asked, answered in rows}

    found = _remembered("tokens", ask)
    return [found.get(day, (0.0, 0.0))[0] for day in days()], [found.get(day, (0.0, 0.0))[1] for day in days()]


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

    def ask(first: Day) -> dict[Day, list[tuple[float, int]]]:
        since = midnight(first)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {day}, {bucket}, count(*) FROM {Run._meta.db_table} "  # noqa: S608  no input in the text
                f"WHERE finished_at >= %s AND {column} IS NOT NULL GROUP BY 1, 2",
                [since if connection.vendor == "postgresql" else since.replace(tzinfo=None).isoformat(" ")],
            )
            rows = cursor.fetchall()
        return by_day((as_date(day), STEP ** (float(bucket) + 0.5), count) for day, bucket, count in rows)

    return percentiles(_remembered(column, ask))


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
    return [_percentile(found.get(day, []), 0.5) for day in days()], [
        _percentile(found.get(day, []), 0.95) for day in days()
    ]


def errors_by(name: str) -> list[tuple[str, int]]:
    """Return what failed most often: by `error_code`, `model` or `user__username`."""
    failed = Run.objects.filter(~Q(error_code=""), id__gte=first_id_of(midnight(days()[0])))
    rows = failed.values(name).annotate(count=Count("pk")).order_by("-count", name)[:MOST]
    return [(str(row[name]), row["count"]) for row in rows]


def as_date(value: Any) -> Day:
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(value)


def _counted(name: str, rows: QuerySet[Any]) -> Row:
    def ask(first: Day) -> dict[Day, int]:
        since = rows.filter(id__gte=first_id_of(midnight(first)))
        by = since.annotate(day=TruncDate("created_at")).values("day").annotate(count=Count("pk"))
        return dict(by.values_list("day", "count"))

    found = _remembered(name, ask)
    return [float(found.get(day, 0)) for day in days()]


def _remembered(name: str, ask: Callable[[Day], dict[Day, Any]]) -> dict[Day, Any]:
    """Return a figure by day. Days before today come from the cache and are at most an hour old."""
    today, now = timezone.now().date(), time.monotonic()
    until, day, past = _past.get(name, (0.0, today, {}))
    if until > now and day == today:
        return {**past, **ask(today)}
    found = ask(days()[0])
    _past[name] = (now + PAST_SECONDS, today, {day: value for day, value in found.items() if day < today})
    return found


def _percentile(rows: list[tuple[float, int]], share: float) -> float | None:
    wanted = share * sum(count for _, count in rows)
    passed = 0
    for milliseconds, count in sorted(rows):
        passed += count
        if passed >= wanted:
            return milliseconds
    return None
