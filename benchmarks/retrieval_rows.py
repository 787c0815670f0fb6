"""Generates histories directly in the tables: messages, their entries in the text index, passages with vectors.

Words are syllables by a Zipf distribution; vectors lie around a few hundred centres. The same seed gives the same
history.
"""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.db import connection, transaction

from accounts.models import User
from accounts.services import register_user
from conversations.models import Conversation, Message
from foundation.database import lift_time_limit
from foundation.ids import uuid7
from search.analysis import stems, terms_of
from search.backends import backend
from search.models import PARTITION_SHIFT, Entry, IndexPartition

DIMENSIONS = 384
PER_TALK = 20
WORDS = 20_000
BATCH = 5_000
CENTRES = 400
BEGAN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]


@dataclass(slots=True)
class Owner:
    """An owner and the number of passages; `vectors` are kept only for comparison with exact results."""

    user: User
    partition: int
    size: int
    vectors: np.ndarray = field(default_factory=lambda: np.zeros((0, DIMENSIONS), "f4"))


class Maker:
    """Creates rows from a seed. The database must be empty."""

    def __init__(self, seed: int, embedder_id: int) -> None:
        self.random = np.random.default_rng(seed)
        self.embedder_id = embedder_id
        self.words = ["".join(self.random.choice(SYLLABLES, 4)) for _ in range(WORDS)]
        self.centres = self.random.standard_normal((CENTRES, DIMENSIONS)).astype("f4")
        self._stems = {word: stems(word) for word in set(self.words)}

    def text(self) -> str:
        """Return a message of about twenty words, most of them frequent ones."""
        size = int(self.random.integers(8, 33))
        places = np.minimum(self.random.zipf(1.25, size) + 20, WORDS) - 1
        return " ".join(self.words[place] for place in places)

    def question(self) -> str:
        """Return five words: some occur in many messages, some in few."""
        places = self.random.integers(50, 5_000, 5)
        return " ".join(self.words[place] for place in places)

    def vectors(self, count: int) -> np.ndarray:
        found = self.centres[self.random.integers(0, CENTRES, count)]
        found = found + 0.8 * self.random.standard_normal((count, DIMENSIONS)).astype("f4")
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype("f4")

    def owner(self, size: int, *, keep: bool) -> Owner:
        """Create an owner with `size` messages of one passage each."""
        user = register_user(username=f"owner-{uuid.uuid4().hex[:12]}")
        partition = IndexPartition.objects.create(owner=user)
        owner = Owner(user, partition.pk, size)
        kept = []
        for first in range(1, size + 1, BATCH):
            vectors = self.vectors(min(BATCH, size + 1 - first))
            with transaction.atomic():
                self._write(owner, first, vectors)
            if keep:
                kept.append(vectors)
        IndexPartition.objects.filter(pk=partition.pk).update(next_seq=size + 1)
        if kept:
            owner.vectors = np.concatenate(kept)
        return owner

    def _write(self, owner: Owner, first: int, vectors: np.ndarray) -> None:
        entries: list[tuple[Any, ...]] = []
        for start in range(0, len(vectors), PER_TALK):
            entries += self._talk(owner, first + start, min(PER_TALK, len(vectors) - start))
        insert_entries(entries)
        insert_passages(owner.partition, self.embedder_id, [row[0] for row in entries], vectors)

    def _talk(self, owner: Owner, first: int, count: int) -> Iterator[tuple[Any, ...]]:
        at = BEGAN + dt.timedelta(minutes=first)
        talk = Conversation(owner=owner.user, title="Made up", next_position=count + 1, created_at=at, updated_at=at)
        rows = [
            Message(
                id=uuid7(),
                conversation=talk,
                position=position,
                role=(Message.Role.USER, Message.Role.ASSISTANT)[position % 2],
                content=self.text(),
                created_at=at + dt.timedelta(seconds=position),
            )
            for position in range(1, count + 1)
        ]
        for above, below in itertools.pairwise(rows):
            below.parent_id = above.pk
        Conversation.objects.bulk_create([talk])
        Message.objects.bulk_create(rows)
        Conversation.objects.filter(pk=talk.pk).update(head=rows[-1])
        base = owner.partition << PARTITION_SHIFT
        for place, row in enumerate(rows):
            text_stems = [stem for word in row.content.split() for stem in self._stems[word]]
            previous_1, previous_2 = (base | first + place - back if place >= back else None for back in (1, 2))
            terms = terms_of(owner.partition, text_stems)
            yield base | first + place, row.pk, previous_1, previous_2, len(text_stems), terms


def insert_entries(entries: list[tuple[Any, ...]]) -> None:
    from search.backends.base import NewEntry

    backend().write_entries([NewEntry(*row) for row in entries])


def insert_passages(partition: int, embedder_id: int, entries: list[int], vectors: np.ndarray, table: str = "") -> None:
    """Write passages; on PostgreSQL by the binary protocol, which writes a million of them in minutes."""
    table = table or "search_passage"
    if connection.vendor != "postgresql":
        rows = [
            (entry, partition, embedder_id, 0, 100, vector.astype("<f2").tobytes())
            for entry, vector in zip(entries, vectors, strict=True)
        ]
        with connection.cursor() as cursor:
            cursor.executemany(
                f'INSERT INTO {table} (entry_id, partition_id, embedder_id, start, "end", vector) '
                "VALUES (%s, %s, %s, %s, %s, %s)",
                rows,
            )
        return
    kind = [("fields", ">i2"), ("l1", ">i4"), ("entry", ">i8")]
    for name in ("partition", "embedder", "start", "end"):
        kind += [(f"l_{name}", ">i4"), (name, ">i4")]
    kind += [("l6", ">i4"), ("size", ">i2"), ("unused", ">i2"), ("vector", ">f2", (DIMENSIONS,))]  # type: ignore[list-item]
    packed: np.ndarray = np.zeros(len(entries), dtype=kind)
    packed["fields"], packed["l1"], packed["l6"] = 6, 8, 4 + 2 * DIMENSIONS
    for name, value in (("partition", partition), ("embedder", embedder_id), ("start", 0), ("end", 100)):
        packed[f"l_{name}"], packed[name] = 4, value
    packed["entry"], packed["size"], packed["vector"] = entries, DIMENSIONS, vectors
    with connection.cursor() as cursor:
        copying = f'COPY {table} (entry_id, partition_id, embedder_id, start, "end", vector) FROM STDIN (FORMAT BINARY)'
        with cursor.copy(copying) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8) + packed.tobytes() + b"\xff\xff")


def settle() -> None:
    """Restore what filling switched off, and update the database's statistics."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET session_replication_role = origin")
            cursor.execute("SELECT gin_clean_pending_list('search_entry_terms')")
            cursor.execute("VACUUM ANALYZE")
        else:
            backend().install()
            cursor.execute("ANALYZE")


def begin() -> None:
    """Remove the triggers, which would queue every row for indexing, and the limits on statements."""
    lift_time_limit()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET session_replication_role = replica")
        else:
            for name in ("added", "changed", "gone"):
                cursor.execute(f"DROP TRIGGER IF EXISTS search_message_{name}")


def counted() -> int:
    return Entry.objects.count()
