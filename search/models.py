"""The index: derived from the messages, and rebuilt from them if it is lost.

What differs between the two databases is in `backends/`: the indexes over terms and vectors, the queries that use them,
and the triggers that fill `PendingMessage` and delete index rows with their messages.
"""

from __future__ import annotations

import secrets

from django.db import models

from accounts.models import User
from search.analysis import fingerprint
from search.fields import TermsField, VectorField

# The id of an entry is `partition << PARTITION_SHIFT | seq`, so the entries of a partition are neighbours.
PARTITION_SHIFT = 40


def _nonce() -> int:
    return secrets.randbits(62)


class IndexPartition(models.Model):
    """The part of the index that is searched together: one owner's messages; with `owner` None, all guests'."""

    id = models.AutoField(primary_key=True)
    owner = models.OneToOneField(User, null=True, on_delete=models.CASCADE, related_name="+")
    next_seq = models.BigIntegerField(default=1)
    # Changes whenever the partition's vectors change: what a process has cached is valid for one version.
    version = models.BigIntegerField(default=0)
    # Distinguishes this partition from an earlier one with the same id, in a database that was restored or rolled back.
    nonce = models.BigIntegerField(default=_nonce)
    # The languages of its messages beside the usual one, with spaces between them.
    languages = models.CharField(max_length=400, default="", db_default="")
    # The analyser's fingerprint that its terms were made with; negative while they are made anew, up to `analysed`.
    analysis = models.IntegerField(default=fingerprint, db_default=0)
    analysed = models.BigIntegerField(default=0, db_default=0)


class Entry(models.Model):
    """A message in the text index. `previous_1` and `previous_2` are the entries of the two turns before it."""

    id = models.BigIntegerField(primary_key=True)
    message_id = models.UUIDField(unique=True)
    previous_1 = models.BigIntegerField(null=True)
    previous_2 = models.BigIntegerField(null=True)
    length = models.IntegerField()
    terms = TermsField(editable=False, serialize=False)

    class Meta:
        indexes = [
            # Find the entries one and two turns after an entry. The indexes cover the query: no rows are read.
            models.Index(fields=["previous_1", "id", "previous_2", "length"], name="search_entry_previous_1"),
            models.Index(fields=["previous_2", "id", "previous_1", "length"], name="search_entry_previous_2"),
        ]


class Embedder(models.Model):
    """A model that made vectors, by the name that loads it again, with its prompts and dimensions."""

    id = models.AutoField(primary_key=True)
    name = models.CharField(max_length=2_000, unique=True)
    dimensions = models.IntegerField()


class PassageManager(models.Manager["Passage"]):
    def get_queryset(self) -> models.QuerySet[Passage]:
        return super().get_queryset().defer("vector")


class Passage(models.Model):
    """A window of one message, embedded together with its context. `start` and `end` are in code points of it."""

    id = models.BigAutoField(primary_key=True)
    entry_id = models.BigIntegerField()
    partition_id = models.IntegerField()
    embedder = models.ForeignKey(Embedder, on_delete=models.CASCADE, related_name="+", db_index=False)
    start = models.IntegerField()
    end = models.IntegerField()
    vector = VectorField(editable=False, serialize=False)

    objects = PassageManager()

    class Meta:
        indexes = [
            models.Index(fields=["entry_id"], name="search_passage_entry"),
        ]


class PendingMessage(models.Model):
    """A message that changed since it was indexed: written by triggers, in the transaction that changed it."""

    class Stage(models.IntegerChoices):
        TEXT = 0
        SEMANTIC = 1

    message_id = models.UUIDField(primary_key=True)
    owner_id = models.UUIDField()
    stage = models.SmallIntegerField(default=Stage.TEXT, choices=Stage)
    version = models.IntegerField(default=0)
    # When a worker's claim expires, in Unix seconds of the database: the worker may die.
    claimed_until = models.FloatField(default=0)

    class Meta:
        indexes = [
            models.Index(fields=["stage", "-message_id"], name="search_pending_newest"),
            models.Index(fields=["owner_id", "stage"], name="search_pending_owner"),
        ]


class SearchTiming(models.Model):
    """How many searches of a day took about equally long: `bucket` is the exponent of 1.1 that gives milliseconds."""

    day = models.DateField()
    bucket = models.SmallIntegerField()
    count = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["day", "bucket"], name="search_timing_unique")]
