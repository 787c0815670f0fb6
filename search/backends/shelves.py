"""Vectors held in memory by space: loaded once, then only what is new; the least used go when it gets too much.

Each is held twice: as stored, and rounded to a byte a dimension. All are scanned by the bytes, a quarter of what single
precision would read; the few that can be among the nearest by what the rounding may hide are then compared exactly.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import simsimd
from django.conf import settings

CHUNK = 8192  # rows read at once
ARRAYS = ("ids", "entries", "vectors", "rough", "scales", "rests", "lengths")
LEAST_ROOM = 16  # passages: most owners of many have few
SAMPLE = 8192  # values that say about where the largest begin
ROUNDING = 1e-5  # what single precision itself errs by, with room
GONE_SECONDS = 60.0  # how often it is looked whose spaces are there no more


class Rows(NamedTuple):
    """Passages as a database has them, by id: (n,), (n,), and half precision (n, dimensions)."""

    ids: np.ndarray
    entries: np.ndarray
    vectors: np.ndarray


class State(NamedTuple):
    """What a database says about a space: which one it is, its version, its newest passage by an embedder."""

    nonce: int
    version: int
    newest: int


class Near(NamedTuple):
    """Passages, best first."""

    ids: np.ndarray
    entries: np.ndarray
    cosines: np.ndarray


# Cursor, space, embedder, id: the next passages after that id, CHUNK of them at most.
Reader = Callable[[Any, int, int, int], Rows]


class Shelf:
    """The vectors of one space by one embedder, as arrays that grow together."""

    def __init__(self, dimensions: int) -> None:
        self.version = -1
        self.last = 0
        self.size = 0
        self.counted = 0  # bytes, as Shelves knows it
        self.lock = threading.Lock()
        self.ids: np.ndarray = np.zeros(0, "i8")
        self.entries: np.ndarray = np.zeros(0, "i8")
        self.vectors: np.ndarray = np.zeros((0, dimensions), "f2")
        self.rough: np.ndarray = np.zeros((0, dimensions), "i1")
        self.scales: np.ndarray = np.zeros(0, "f4")
        self.rests: np.ndarray = np.zeros(0, "f4")
        self.lengths: np.ndarray = np.zeros(0, "f4")

    @property
    def held(self) -> int:
        """Bytes."""
        return sum(getattr(self, name).nbytes for name in ARRAYS)

    def add(self, rows: Rows) -> None:
        size = self.size + len(rows.ids)
        if size > len(self.ids):
            room = max(size, len(self.ids) + len(self.ids) // 4, LEAST_ROOM)
            for name in ARRAYS:
                setattr(self, name, _grown(getattr(self, name), room))
        new = slice(self.size, size)
        self.ids[new], self.entries[new], self.vectors[new] = rows
        self.rough[new], self.scales[new], self.rests[new], self.lengths[new] = roughly(rows.vectors.astype("f4"))
        self.size, self.last = size, int(rows.ids[-1])

    def keep(self, ids: np.ndarray) -> None:
        """Drop every passage that is not among `ids`; what was dropped is overwritten. Under the lock, as `drop`."""
        self._keep(np.isin(self.ids[: self.size], ids))

    def drop(self, ids: np.ndarray) -> None:
        """Drop the passages `ids`."""
        self._keep(~np.isin(self.ids[: self.size], ids))

    def _keep(self, kept: np.ndarray) -> None:
        size = int(kept.sum())
        for name in ARRAYS:
            array = getattr(self, name)
            array[:size] = array[: self.size][kept]
            array[size : self.size] = 0
        self.size = size

    def nearest(self, vector: np.ndarray, count: int, allowed: np.ndarray | None) -> Near:
        """Return the `count` nearest, exactly: the rough scan only says which can be among them."""
        with self.lock:
            inside = None if allowed is None else np.flatnonzero(np.isin(self.entries[: self.size], allowed))
            rows = np.arange(self.size) if inside is None else inside
            if len(rows) > count:
                rows = self._possible(vector, count, inside)
            ids, entries, cosines = self.ids[rows], self.entries[rows], self._cosines(vector, rows)
        order = np.lexsort((entries, -cosines))[:count]
        return Near(ids[order], entries[order], cosines[order])

    def _possible(self, vector: np.ndarray, count: int, inside: np.ndarray | None) -> np.ndarray:
        """Return the rows that may be among the `count` nearest: what the rough cosine errs by is bounded."""
        [rough], [scale], [rest], _ = roughly(vector[None, :].astype("f4"))
        products = simsimd.cdist(rough[None, :], self.rough[: self.size], "dot", out_dtype="float32")
        cosines = np.asarray(products)[0] * (self.scales[: self.size] * scale)
        # By Cauchy and Schwarz: (r + e)(s + f) - rs = (r + e)f + e s, where e and f are the roundings of r and s.
        errors = self.rests[: self.size] * np.linalg.norm(rough * scale)
        errors += self.lengths[: self.size] * rest + ROUNDING
        if inside is not None:
            cosines, errors = cosines[inside], errors[inside]
        possible = np.flatnonzero(cosines + errors >= _nth_largest(cosines - errors, count))
        return possible if inside is None else inside[possible]

    def _cosines(self, vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
        parts = [cosines_of(self.vectors[rows[at : at + CHUNK]], vector) for at in range(0, len(rows), CHUNK)]
        return np.concatenate([np.zeros(0, "f4"), *parts])


def cosines_of(vectors: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return the cosines of vectors (n, d) of length 1 to one; of equal vectors equal, whichever rows they are."""
    # Summed in double precision, which single precision then hides the order of.
    cosines: np.ndarray = vectors.astype("f8") @ vector.astype("f8")
    return cosines.astype("f4")


def room_for_one(dimensions: int) -> int:
    """Return how many bytes one passage takes on a shelf."""
    return 3 * dimensions + 28  # half precision, bytes; two ids, three numbers


def roughly(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return vectors (n, d) as bytes (n, d), and of each its scale, the length of what was rounded off, its length."""
    scales = np.abs(vectors).max(axis=1, initial=0) / 127
    rough = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None])
    rests = np.linalg.norm(vectors - rough * scales[:, None], axis=1)
    return rough.astype("i1"), scales, rests, np.linalg.norm(vectors, axis=1)


def _nth_largest(values: np.ndarray, n: int) -> Any:
    """Return the `n`th largest of more values than that; a sample spares looking at most of them."""
    step = max(1, len(values) // SAMPLE)
    sample = values[::step]
    place = min(len(sample), 2 * n // step + 8)
    some = values[values >= np.partition(sample, -place)[-place]]
    return np.partition(some if len(some) >= n else values, -n)[-n]


class Shelves:
    """All shelves of this process, SEARCH_CACHE_MB of them at most (and the one in use, be it larger)."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self._shelves: OrderedDict[tuple[int, int, int], Shelf] = OrderedDict()
        self._held = 0  # bytes of all of them
        self._lock = threading.Lock()
        self._looked = time.monotonic()

    def open(self, cursor: Any, space: int, embedder: int, dimensions: int) -> Shelf:
        """Return the shelf as the database has it now, loading it if need be."""
        state = _state(cursor, space, embedder)
        key = (space, state.nonce, embedder)
        with self._lock:
            shelf = self._shelves.setdefault(key, Shelf(dimensions))
        self._use(cursor, key, shelf, state)
        return shelf

    def loaded(self, cursor: Any, space: int, embedder: int) -> Shelf | None:
        """Return the shelf as the database has it now, if it has been loaded."""
        state = _state(cursor, space, embedder)
        key = (space, state.nonce, embedder)
        with self._lock:
            shelf = self._shelves.get(key)
        if shelf is None or shelf.version < 0:
            return None
        self._use(cursor, key, shelf, state)
        return shelf

    def _use(self, cursor: Any, key: tuple[int, int, int], shelf: Shelf, state: State) -> None:
        space, _, embedder = key
        with shelf.lock:
            if state.version != shelf.version and shelf.size:
                shelf.keep(_ids(cursor, space, embedder))
            while state.newest > shelf.last:
                rows = self._read(cursor, space, embedder, shelf.last)
                if not len(rows.ids):
                    break
                shelf.add(rows)
            shelf.version = state.version
        self._forget_gone(cursor)
        self._count(key, shelf)

    def _count(self, key: tuple[int, int, int], used: Shelf) -> None:
        """Note that the shelf was used, and its size, and make room; by a running sum, since there may be thousands."""
        with self._lock:
            if self._shelves.get(key) is used:
                self._shelves.move_to_end(key)
                self._held += used.held - used.counted
                used.counted = used.held
            while self._held > settings.SEARCH_CACHE_MB * 2**20 and len(self._shelves) > 1:
                self._held -= self._shelves.popitem(last=False)[1].counted

    def _forget_gone(self, cursor: Any) -> None:
        """Now and then let go of what belonged to accounts that are deleted."""
        if time.monotonic() < self._looked + GONE_SECONDS:
            return
        self._looked = time.monotonic()
        with self._lock:
            held = list(self._shelves)
        marks = ", ".join(["%s"] * len(held))
        cursor.execute(f"SELECT id, nonce FROM search_space WHERE id IN ({marks})", [space for space, _, _ in held])
        there = set(cursor.fetchall())
        with self._lock:
            for key in held:
                if key[:2] not in there and key in self._shelves:
                    self._held -= self._shelves.pop(key).counted


def _state(cursor: Any, space: int, embedder: int) -> State:
    cursor.execute(
        "SELECT nonce, version, coalesce((SELECT max(id) FROM search_passage "
        "WHERE space_id = search_space.id AND embedder_id = %s), 0) FROM search_space WHERE id = %s",
        [embedder, space],
    )
    return State(*(cursor.fetchone() or (0, 0, 0)))


def _ids(cursor: Any, space: int, embedder: int) -> np.ndarray:
    cursor.execute("SELECT id FROM search_passage WHERE space_id = %s AND embedder_id = %s", [space, embedder])
    return np.fromiter((found[0] for found in cursor.fetchall()), "i8")


def _grown(array: np.ndarray, room: int) -> np.ndarray:
    grown = np.zeros((room, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
