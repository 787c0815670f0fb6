"""The interface of the index's back ends, which `postgres.py` and `sqlite.py` implement.

Every method that searches takes the partitions to search, as a condition inside its query.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

# Entries in the form that the ranking reads; 0 means no entry.
ROWS = np.dtype([("id", ">i8"), ("previous_1", ">i8"), ("previous_2", ">i8"), ("length", ">i4")])
ENDING = 16  # characters of a message that tell whether it ends with a question
# An entry's id and length, the id of its message, and that message's conversation, author (or role) and last ENDING
# characters.
OriginRow = tuple[int, int, Any, Any, str, str]


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to write, with its terms."""

    id: int
    message_id: uuid.UUID
    previous_1: int | None
    previous_2: int | None
    length: int
    terms: Sequence[int]


@dataclass(frozen=True, slots=True)
class NewPassage:
    """A passage to write, with its vector (float32, of length 1)."""

    entry_id: int
    partition_id: int
    embedder_id: int
    start: int
    end: int
    vector: np.ndarray


class Backend(Protocol):
    """The index on one kind of database."""

    def install(self) -> bool:
        """Create what the migrations could not, and missing triggers; returns whether a trigger was missing."""

    def has_vectors(self) -> bool:
        """Tell whether this database can store vectors."""

    def fit(self, dimensions: int) -> None:
        """Prepare for vectors of this many dimensions."""

    def compact(self, *, begin: bool) -> bool:
        """Remove a small part of what deleted messages left in the index, or `begin` to; returns whether it did."""

    def write_entries(self, entries: Sequence[NewEntry]) -> None:
        """Write entries; existing ones with the same id are replaced."""

    def postings(self, terms: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Return, for each list of alternative terms, the ROWS of the entries that contain any of them."""

    def around(self, ids: Sequence[int]) -> np.ndarray:
        """Return the ROWS of these entries and of the entries one or two turns after them."""

    def origins(self, ids: Sequence[int]) -> list[OriginRow]:
        """Return where these entries come from; nothing for one whose message is gone."""

    def write_passages(self, passages: Sequence[NewPassage]) -> None:
        """Add passages."""

    def nearest(
        self,
        partitions: Sequence[int] | None,
        embedder_id: int,
        vector: np.ndarray,
        count: int,
        allowed: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return entry ids and exact cosines of the `count` nearest passages, best first. `partitions` None: all."""

    def similarities(
        self, partitions: Sequence[int] | None, embedder_id: int, vector: np.ndarray, ids: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return entry ids and cosines of every passage of the given entries, and where each begins."""


def as_rows(values: Sequence[tuple[Any, ...]]) -> np.ndarray:
    return np.array(values, dtype=ROWS)
