"""Makes the terms of stored messages anew where another version of the analyser made them, a few at a time.

A partition is locked meanwhile, as by whoever indexes its messages; searches use what is there. Vectors stay.
"""

from __future__ import annotations

from django.db import connection, transaction
from django.db.models import QuerySet

from search.analysis import fingerprint
from search.indexing import rewrite_terms
from search.models import PARTITION_SHIFT, Entry, IndexPartition

BATCH = 50  # on SQLite all other writers wait for one


def remake_terms(*, limit: int = BATCH) -> bool:
    """Make the terms of the next few messages anew; returns whether there were any."""
    if not _outdated().exists():  # checked first without a lock
        return False
    with transaction.atomic():
        rows = _outdated().order_by("id")
        skip = connection.features.has_select_for_update_skip_locked
        partition = (rows.select_for_update(skip_locked=True) if skip else rows).first()
        if partition is None:
            return False
        if partition.analysis != -fingerprint():
            partition.analysis, partition.analysed = -fingerprint(), 0
        base = partition.pk << PARTITION_SHIFT
        entries = Entry.objects.filter(pk__gt=base | partition.analysed, pk__lt=(partition.pk + 1) << PARTITION_SHIFT)
        batch = list(entries.defer("terms").order_by("pk")[:limit])
        if batch:
            partition.languages = rewrite_terms(partition, batch)
            partition.analysed = batch[-1].pk - base
        else:
            partition.analysis, partition.analysed = fingerprint(), 0
        partition.save(update_fields=["analysis", "analysed", "languages"])
    return True


def _outdated() -> QuerySet[IndexPartition]:
    return IndexPartition.objects.exclude(analysis=fingerprint())
