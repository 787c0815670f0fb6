"""The figures: each one query over an index, for the last 30 days. Percentiles come from buckets 10 % wide."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Count, Q, Sum
from django.db.models.fields import FloatField
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, TruncDate
from django.utils import timezone

from accounts.listing import first_id_of
from completions.models import Run
from conversations.models import Conversation, Message

DAYS = 30
STEP = 1.1  # the width of a bucket
MOST = 10


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds by day; None where nothing was measured."""

    p50: list[float | None]
    p95: list[float | None]


def days() -> list[dt.date]:
    """Return the days shown, today (UTC) last."""
    today = timezone.now().date()
    return [today - dt.timedelta(days=back) for back in range(DAYS - 1, -1, -1)]


def since() -> dt.datetime:
    return dt.datetime.combine(days()[0], dt.time(), dt.UTC)


def started_conversations() -> list[float]:
    return _by_day(Conversation.objects.filter(id__gte=first_id_of(since())), Count("pk"))


def messages() -> list[float]:
    return _by_day(Message.objects.filter(id__gte=first_id_of(since())), Count("pk"))


def tokens() -> tuple[list[float], list[float]]:
    """Return tokens asked and answered by day, as far as the models' servers told."""
    rows = (
        Run.objects.filter(finished_at__gte=since(), usage__isnull=False)
        .annotate(day=TruncDate("finished_at"))
        .values("day")
        .annotate(
            asked=Sum(Cast(KT("usage__prompt_tokens"), FloatField())),
            answered=Sum(Cast(KT("usage__completion_tokens"), FloatField())),
        )
        .values_list("day", "asked", "answered")
    )
    found = {day: (asked or 0.0, answered or 0.0) for day, asked, answered in rows}
    return ([found.get(day, (0.0, 0.0))[0] for day in days()], [found.get(day, (0.0, 0.0))[1] for day in days()])


def times_to(column: str) -> Times:
    """Return how long runs took to `first_token_at` or `finished_at`, by day."""
    if column not in ("first_token_at", "finished_at"):
        raise ValueError(column)
    if connection.vendor == "postgresql":
        elapsed = f"extract(epoch from ({column} - created_at)) * 1000"
        day = "(finished_at AT TIME ZONE 'UTC')::date"
    else:
        elapsed = f"(julianday({column}) - julianday(created_at)) * 86400000.0"
        day = "date(finished_at)"
    bucket = f"floor(ln(CASE WHEN {elapsed} < 1 THEN 1 ELSE {elapsed} END) / {math.log(STEP)})"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {day}, {bucket}, count(*) FROM {Run._meta.db_table} "  # noqa: S608  no input in the text
            f"WHERE finished_at >= %s AND {column} IS NOT NULL GROUP BY 1, 2",
            [since() if connection.vendor == "postgresql" else since().replace(tzinfo=None).isoformat(" ")],
        )
        rows = cursor.fetchall()
    return times_of((as_date(day), STEP ** (float(bucket) + 0.5), count) for day, bucket, count in rows)


def times_of(rows: Iterable[tuple[dt.date, float, int]]) -> Times:
    """Return the percentiles by day of (day, milliseconds, how many)."""
    found: dict[dt.date, list[tuple[float, int]]] = defaultdict(list)
    for day, milliseconds, count in rows:
        found[day].append((milliseconds, count))
    return Times([_percentile(found[day], 0.5) for day in days()], [_percentile(found[day], 0.95) for day in days()])


def errors_by(name: str) -> list[tuple[str, int]]:
    """Return what failed most often: by `error_code`, `model` or `user__username`."""
    failed = Run.objects.filter(~Q(error_code=""), id__gte=first_id_of(since()))
    rows = failed.values(name).annotate(count=Count("pk")).order_by("-count", name)[:MOST]
    return [(str(row[name]), row["count"]) for row in rows]


def as_date(value: Any) -> dt.date:
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(value)


def _by_day(rows: Any, what: Any) -> list[float]:
    found = dict(rows.annotate(day=TruncDate("created_at")).values("day").annotate(n=what).values_list("day", "n"))
    return [float(found.get(day, 0)) for day in days()]


def _percentile(rows: list[tuple[float, int]], share: float) -> float | None:
    wanted = share * sum(count for _, count in rows)
    passed = 0
    for milliseconds, count in sorted(rows):
        passed += count
        if passed >= wanted:
            return milliseconds
    return None
