"""Vectors held in memory by space: loaded once, then only what is new; the least used go when it gets too much."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from django.conf import settings

CHUNK = 8192  # rows read at once


class Shelf:
    """The vectors of one space by one embedder, as one matrix that grows."""

    def __init__(self, dimensions: int) -> None:
        self.version = -1
        self.last = 0
        self.size = 0
        self.ids: np.ndarray = np.zeros(0, "i8")
        self.entries: np.ndarray = np.zeros(0, "i8")
        self.matrix: np.ndarray = np.zeros((0, dimensions), "f4")
        self.lock = threading.Lock()

    @property
    def held(self) -> int:
        return self.matrix.nbytes + self.ids.nbytes + self.entries.nbytes

    def add(self, rows: list[tuple[int, int, bytes]]) -> None:
        """Append (passage id, entry id, packed vector), ordered by passage id."""
        vectors = np.frombuffer(b"".join(row[2] for row in rows), "<f2").reshape(len(rows), -1)
        size = self.size + len(rows)
        if size > len(self.matrix):
            room = max(size, len(self.matrix) + len(self.matrix) // 4, 64)
            self.matrix = _grown(self.matrix, room)
            self.ids, self.entries = _grown(self.ids, room), _grown(self.entries, room)
        self.matrix[self.size : size] = vectors
        self.ids[self.size : size] = [row[0] for row in rows]
        self.entries[self.size : size] = [row[1] for row in rows]
        self.size, self.last = size, rows[-1][0]

    def keep(self, ids: np.ndarray) -> None:
        """Drop every passage that is not among `ids`; what was dropped is overwritten."""
        kept = np.isin(self.ids[: self.size], ids)
        size = int(kept.sum())
        self.matrix[:size] = self.matrix[: self.size][kept]
        self.matrix[size : self.size] = 0
        for name in ("ids", "entries"):
            array = getattr(self, name)
            array[:size] = array[: self.size][kept]
        self.size = size

    def nearest(self, vector: np.ndarray, count: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        with self.lock:
            entries = self.entries[: self.size]
            cosines = self.matrix[: self.size] @ vector
            if allowed is not None:
                inside = np.isin(entries, allowed)
                entries, cosines = entries[inside], cosines[inside]
            else:
                entries = entries.copy()
        if len(cosines) > count:
            best = np.argpartition(-cosines, count)[:count]
            entries, cosines = entries[best], cosines[best]
        order = np.lexsort((entries, -cosines))
        return entries[order], cosines[order]


class Shelves:
    """All shelves of this process, SEARCH_CACHE_MB of them at most (and the one in use, be it larger)."""

    def __init__(self) -> None:
        self._shelves: OrderedDict[tuple[int, int, int], Shelf] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, cursor: Any, space: int, embedder: int, dimensions: int) -> Shelf:
        """Return the shelf as the database has it now."""
        cursor.execute("SELECT nonce, version FROM search_space WHERE id = %s", [space])
        nonce, version = cursor.fetchone() or (0, 0)
        key = (space, nonce, embedder)
        with self._lock:
            shelf = self._shelves.setdefault(key, Shelf(dimensions))
            self._shelves.move_to_end(key)
        with shelf.lock:
            _refresh(shelf, cursor, space, embedder, version)
        self._make_room()
        return shelf

    def _make_room(self) -> None:
        most = settings.SEARCH_CACHE_MB * 2**20
        with self._lock:
            held = sum(shelf.held for shelf in self._shelves.values())
            while held > most and len(self._shelves) > 1:
                _, shelf = self._shelves.popitem(last=False)
                held -= shelf.held


def _refresh(shelf: Shelf, cursor: Any, space: int, embedder: int, version: int) -> None:
    if version != shelf.version:
        if shelf.size:
            cursor.execute("SELECT id FROM search_passage WHERE space_id = %s AND embedder_id = %s", [space, embedder])
            shelf.keep(np.fromiter((found[0] for found in cursor.fetchall()), "i8"))
        shelf.version = version
    while True:
        cursor.execute(
            "SELECT id, entry_id, vector FROM search_passage "
            "WHERE space_id = %s AND embedder_id = %s AND id > %s ORDER BY id LIMIT %s",
            [space, embedder, shelf.last, CHUNK],
        )
        rows = cursor.fetchall()
        if rows:
            shelf.add(rows)
        if len(rows) < CHUNK:
            return


def _grown(array: np.ndarray, room: int) -> np.ndarray:
    grown = np.zeros((room, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
