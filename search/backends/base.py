"""What the index needs of a database. Two of them: `postgres.py` and `sqlite.py`; both keep every method's promise.

Every method that looks for something takes the spaces it looks in, as a condition inside its query.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

# Entries as the ranking wants them; 0 is no entry.
ROWS = np.dtype([("id", ">i8"), ("before", ">i8"), ("before_that", ">i8"), ("length", ">i4")])


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to write, with the terms it is found by."""

    id: int
    message_id: uuid.UUID
    before: int | None
    before_that: int | None
    length: int
    terms: Sequence[int]


@dataclass(frozen=True, slots=True)
class NewPassage:
    """A passage to write, with its vector (float32, of length 1)."""

    entry_id: int
    space_id: int
    embedder_id: int
    start: int
    end: int
    vector: np.ndarray


class Backend(Protocol):
    """One database's half of the index."""

    def install(self) -> bool:
        """Create what is missing of tables, indexes and triggers; returns whether a trigger was missing."""

    def uninstall(self) -> None:
        """Drop the triggers, so that the tables they watch may be changed."""

    def has_vectors(self) -> bool:
        """Tell whether this database can keep vectors."""

    def fit(self, dimensions: int) -> None:
        """Make room for vectors of this size."""

    def compact(self, *, begin: bool) -> bool:
        """Do a small part of removing what deleted words left in the index, or `begin` to; tells whether it did."""

    def write_entries(self, entries: Sequence[NewEntry]) -> None:
        """Write entries; those that are there with the same id are replaced."""

    def postings(self, terms: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Return, for each list of alternative terms, the ROWS of the entries that have one of them."""

    def around(self, ids: Sequence[int]) -> np.ndarray:
        """Return the ROWS of these entries and of those one or two turns after them."""

    def write_passages(self, passages: Sequence[NewPassage]) -> None:
        """Add passages."""

    def nearest(
        self, spaces: Sequence[int] | None, embedder_id: int, vector: np.ndarray, count: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return entry ids and cosines of the `count` nearest passages, best first. Exact. `spaces` None is all."""

    def similarities(
        self, spaces: Sequence[int] | None, embedder_id: int, vector: np.ndarray, ids: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return entry ids and cosines of every passage of the given entries, and where each begins."""


def as_rows(values: Sequence[tuple]) -> np.ndarray:
    return np.array(values, dtype=ROWS)
