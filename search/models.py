"""The index: derived from the messages, and made anew from them whenever it is gone.

What the two databases do not have in common (the terms of an entry, the vector of a passage, and the
indexes over both) is in `backends/`; triggers there keep `PendingMessage` and delete with the messages.
"""

from __future__ import annotations

import secrets

from django.db import models

from accounts.models import User

# The number of an entry is `space << SPACE_BITS | seq`: one space's entries stand together.
SPACE_BITS = 40


def _nonce() -> int:
    return secrets.randbits(62)


class Space(models.Model):
    """What is searched together: one owner's messages; `owner` None is everything that guests made."""

    id = models.AutoField(primary_key=True)
    owner = models.OneToOneField(User, null=True, on_delete=models.CASCADE, related_name="+")
    next_seq = models.BigIntegerField(default=1)
    # Changes with every change of the space's vectors: what processes hold in memory is good for one version.
    version = models.BigIntegerField(default=0)
    # Tells this space from one that had its number before, in a database that was put back or rolled back.
    nonce = models.BigIntegerField(default=_nonce)


class Entry(models.Model):
    """A message in the text index. `before` and `before_that` are the entries of the two turns before it."""

    id = models.BigIntegerField(primary_key=True)
    message_id = models.UUIDField(unique=True)
    before = models.BigIntegerField(null=True)
    before_that = models.BigIntegerField(null=True)
    length = models.IntegerField()

    class Meta:
        indexes = [
            # What stands after an entry, one turn and two; with all that is asked, so that the row itself is not read.
            models.Index(fields=["before", "id", "before_that", "length"], name="search_entry_after"),
            models.Index(fields=["before_that", "id", "before", "length"], name="search_entry_after_that"),
        ]


class Embedder(models.Model):
    """A model that made vectors, by the name that loads it again."""

    id = models.AutoField(primary_key=True)
    name = models.CharField(max_length=300, unique=True)
    dimensions = models.IntegerField()


class Passage(models.Model):
    """A window of one message, embedded together with its context. `start` and `end` are code points of its text."""

    id = models.BigAutoField(primary_key=True)
    entry_id = models.BigIntegerField()
    space_id = models.IntegerField()
    embedder = models.ForeignKey(Embedder, on_delete=models.CASCADE, related_name="+", db_index=False)
    start = models.IntegerField()
    end = models.IntegerField()

    class Meta:
        indexes = [
            models.Index(fields=["entry_id"], name="search_passage_entry"),
        ]


class PendingMessage(models.Model):
    """A message that changed since it was indexed: kept by triggers, in the transaction of whoever changed it."""

    class Stage(models.IntegerChoices):
        TEXT = 0
        MEANING = 1

    message_id = models.UUIDField(primary_key=True)
    owner_id = models.UUIDField()
    stage = models.SmallIntegerField(default=Stage.TEXT, choices=Stage)
    version = models.IntegerField(default=0)
    # Unix seconds of the database: whose work this is until then, should its worker die.
    claimed_until = models.FloatField(default=0)

    class Meta:
        indexes = [
            models.Index(fields=["stage", "-message_id"], name="search_pending_newest"),
            models.Index(fields=["owner_id", "stage"], name="search_pending_owner"),
        ]


class SearchTiming(models.Model):
    """How many searches of one day took about as long: `bucket` is the power of 1.1 in milliseconds."""

    day = models.DateField()
    bucket = models.SmallIntegerField()
    count = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["day", "bucket"], name="search_timing_unique")]
