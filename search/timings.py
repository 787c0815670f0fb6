"""Records how long searches took, in buckets by day, so that any number of searches needs few rows. Never the query.

Counts are kept in memory and written by the sweeping thread of each process, at no cost to a search; a killed process
loses the counts of its last seconds.
"""

from __future__ import annotations

import datetime as dt
import math
import threading
from collections import Counter

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from search.models import SearchTiming

STEP = 1.1  # the ratio between the limits of a bucket

_counts: Counter[tuple[dt.date, int]] = Counter()
_lock = threading.Lock()


def note(milliseconds: float) -> None:
    """Count one search."""
    bucket = math.floor(math.log(max(milliseconds, 1.0)) / math.log(STEP))
    with _lock:
        _counts[timezone.now().date(), bucket] += 1


def write() -> None:
    """Add the counts since the last write to the table."""
    with _lock:
        counted = dict(_counts)
        _counts.clear()
    if not counted:
        return
    with transaction.atomic():
        for (day, bucket), count in sorted(counted.items()):
            row, made = SearchTiming.objects.get_or_create(day=day, bucket=bucket, defaults={"count": count})
            if not made:
                SearchTiming.objects.filter(pk=row.pk).update(count=F("count") + count)


def counted_since(day: dt.date) -> list[tuple[dt.date, float, int]]:
    """Return (day, milliseconds, how many) since `day`."""
    rows = SearchTiming.objects.filter(day__gte=day).values_list("day", "bucket", "count")
    return [(day, STEP ** (bucket + 0.5), count) for day, bucket, count in rows]
