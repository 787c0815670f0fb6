"""Vectors cached in memory by partition: loaded once, then only what is new; the least recently used are evicted.

Each vector is cached twice: as stored, and quantized to a byte a dimension. A scan reads the bytes of all of them, a
quarter of single precision; the few that may be among the nearest, given the quantization error, are rescored exactly.
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

from search.tables import TABLES

READ_ROWS = 8192  # per query
ARRAYS = ("ids", "entries", "vectors", "quantized", "scales", "residuals", "norms")
MIN_CAPACITY = 16  # passages: most owners have only a few
SAMPLE_SIZE = 8192  # the values from which the n-th largest is estimated
FLOAT32_ERROR = 1e-5  # the largest error of a cosine
EVICTION_SECONDS = 60.0  # how often partitions of deleted owners are evicted


class PassageRows(NamedTuple):
    """Passages as stored in the database, sorted by id: (n,), (n,), and half precision (n, dimensions)."""

    ids: np.ndarray
    entries: np.ndarray
    vectors: np.ndarray


class PartitionState(NamedTuple):
    """The database's state of a partition: its nonce, its version, its newest passage by an embedder."""

    nonce: int
    version: int
    newest: int


class NearestPassages(NamedTuple):
    """The passages nearest to a question, best first."""

    ids: np.ndarray
    entries: np.ndarray
    cosines: np.ndarray


# Takes cursor, partition, embedder and id; returns the next passages after that id, at most READ_ROWS.
Reader = Callable[[Any, int, int, int], PassageRows]


class CachedVectors:
    """The vectors of one partition by one embedder, as arrays that grow together."""

    def __init__(self, dimensions: int) -> None:
        self.version = -1
        self.last_id = 0
        self.size = 0
        self.counted_bytes = 0  # its size as counted in VectorCache's sum
        self.lock = threading.Lock()
        self.ids: np.ndarray = np.zeros(0, "i8")
        self.entries: np.ndarray = np.zeros(0, "i8")
        self.vectors: np.ndarray = np.zeros((0, dimensions), "f2")
        self.quantized: np.ndarray = np.zeros((0, dimensions), "i1")
        self.scales: np.ndarray = np.zeros(0, "f4")
        self.residuals: np.ndarray = np.zeros(0, "f4")
        self.norms: np.ndarray = np.zeros(0, "f4")

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, name).nbytes for name in ARRAYS)

    def add(self, rows: PassageRows) -> None:
        size = self.size + len(rows.ids)
        if size > len(self.ids):
            capacity = max(size, len(self.ids) + len(self.ids) // 4, MIN_CAPACITY)
            for name in ARRAYS:
                setattr(self, name, _grown(getattr(self, name), capacity))
        new = slice(self.size, size)
        self.ids[new], self.entries[new], self.vectors[new] = rows
        quantized = quantize(rows.vectors.astype("f4"))
        self.quantized[new], self.scales[new], self.residuals[new], self.norms[new] = quantized
        self.size, self.last_id = size, int(rows.ids[-1])

    def keep(self, ids: np.ndarray) -> None:
        """Drop all passages but `ids`, and overwrite them. The caller holds the lock, as for `drop`."""
        self._keep(np.isin(self.ids[: self.size], ids))

    def drop(self, ids: np.ndarray) -> None:
        """Drop the passages `ids` and overwrite them."""
        self._keep(~np.isin(self.ids[: self.size], ids))

    def _keep(self, kept: np.ndarray) -> None:
        size = int(kept.sum())
        for name in ARRAYS:
            array = getattr(self, name)
            array[:size] = array[: self.size][kept]
            array[size : self.size] = 0
        self.size = size

    def nearest(self, vector: np.ndarray, count: int, allowed: np.ndarray | None) -> NearestPassages:
        """Return the `count` nearest, exactly: the quantized scan only selects the candidates."""
        with self.lock:
            inside = None if allowed is None else np.flatnonzero(np.isin(self.entries[: self.size], allowed))
            rows = np.arange(self.size) if inside is None else inside
            if len(rows) > count:
                rows = self._candidates(vector, count, inside)
            ids, entries, cosines = self.ids[rows], self.entries[rows], self._cosines(vector, rows)
        order = np.lexsort((entries, -cosines))[:count]
        return NearestPassages(ids[order], entries[order], cosines[order])

    def _candidates(self, vector: np.ndarray, count: int, inside: np.ndarray | None) -> np.ndarray:
        """Return the rows that may be among the `count` nearest: the error of a quantized cosine is bounded."""
        [quantized], [scale], [residual], _ = quantize(vector[None, :].astype("f4"))
        products = simsimd.cdist(quantized[None, :], self.quantized[: self.size], "dot", out_dtype="float32")
        cosines = np.asarray(products)[0] * (self.scales[: self.size] * scale)
        # By Cauchy and Schwarz: (r + e)(s + f) - rs = (r + e)f + e s, where e and f are the residuals of r and s.
        errors = self.residuals[: self.size] * np.linalg.norm(quantized * scale)
        errors += self.norms[: self.size] * residual + FLOAT32_ERROR
        if inside is not None:
            cosines, errors = cosines[inside], errors[inside]
        candidates = np.flatnonzero(cosines + errors >= _nth_largest(cosines - errors, count))
        return candidates if inside is None else inside[candidates]

    def _cosines(self, vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
        parts = [cosines_of(self.vectors[rows[at : at + READ_ROWS]], vector) for at in range(0, len(rows), READ_ROWS)]
        return np.concatenate([np.zeros(0, "f4"), *parts])


def cosines_of(vectors: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return the cosines of unit vectors (n, d) to one; equal vectors get equal cosines, whatever their rows."""
    # Summed in double precision: rounding to single precision then hides differences caused by the order of addition.
    cosines: np.ndarray = vectors.astype("f8") @ vector.astype("f8")
    return cosines.astype("f4")


def bytes_per_passage(dimensions: int) -> int:
    """Return how many bytes the cache needs for one passage."""
    return 3 * dimensions + 28  # half precision, bytes; two ids, three numbers


def quantize(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return vectors (n, d) as bytes (n, d), and for each its scale, the norm of its residual, and its norm."""
    scales = np.abs(vectors).max(axis=1, initial=0) / 127
    quantized = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None])
    residuals = np.linalg.norm(vectors - quantized * scales[:, None], axis=1)
    return quantized.astype("i1"), scales, residuals, np.linalg.norm(vectors, axis=1)


def _nth_largest(values: np.ndarray, n: int) -> Any:
    """Return the `n`th largest of more than `n` values; a sample avoids looking at most of them."""
    step = max(1, len(values) // SAMPLE_SIZE)
    sample = values[::step]
    place = min(len(sample), 2 * n // step + 8)
    some = values[values >= np.partition(sample, -place)[-place]]
    return np.partition(some if len(some) >= n else values, -n)[-n]


class VectorCache:
    """All cached vectors of this process: at most SEARCH_CACHE_MB, plus those in use, however large."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self._cached: OrderedDict[tuple[int, int, int], CachedVectors] = OrderedDict()
        self._bytes = 0  # the size of all cached vectors
        self.reserved = 0  # bytes of SEARCH_CACHE_MB that others take
        self._lock = threading.Lock()
        self._evicted_at = time.monotonic()

    def load(self, cursor: Any, partition: int, embedder: int, dimensions: int) -> CachedVectors:
        """Return the vectors as they are in the database now, reading them if they are not cached."""
        state = _state(cursor, partition, embedder)
        key = (partition, state.nonce, embedder)
        with self._lock:
            vectors = self._cached.setdefault(key, CachedVectors(dimensions))
        self._refresh(cursor, key, vectors, state)
        return vectors

    def get(self, cursor: Any, partition: int, embedder: int) -> CachedVectors | None:
        """Return the vectors as they are in the database now; None unless they are cached."""
        state = _state(cursor, partition, embedder)
        key = (partition, state.nonce, embedder)
        with self._lock:
            vectors = self._cached.get(key)
        if vectors is None or vectors.version < 0:
            return None
        self._refresh(cursor, key, vectors, state)
        return vectors

    def _refresh(self, cursor: Any, key: tuple[int, int, int], vectors: CachedVectors, state: PartitionState) -> None:
        partition, _, embedder = key
        with vectors.lock:
            if state.version != vectors.version and vectors.size:
                vectors.keep(_ids(cursor, partition, embedder))
            while state.newest > vectors.last_id:
                rows = self._read(cursor, partition, embedder, vectors.last_id)
                if not len(rows.ids):
                    break
                vectors.add(rows)
            vectors.version = state.version
        self._evict_deleted(cursor)
        self._touch(key, vectors)

    def _touch(self, key: tuple[int, int, int], used: CachedVectors) -> None:
        """Mark vectors as used, note their size and evict others. Keeps a running sum, since there may be thousands."""
        with self._lock:
            if self._cached.get(key) is used:
                self._cached.move_to_end(key)
                self._bytes += used.nbytes - used.counted_bytes
                used.counted_bytes = used.nbytes
            while self._bytes + self.reserved > settings.SEARCH_CACHE_MB * 2**20 and len(self._cached) > 1:
                self._bytes -= self._cached.popitem(last=False)[1].counted_bytes

    def _evict_deleted(self, cursor: Any) -> None:
        """Evict the partitions of deleted accounts, every EVICTION_SECONDS."""
        if time.monotonic() < self._evicted_at + EVICTION_SECONDS:
            return
        self._evicted_at = time.monotonic()
        with self._lock:
            keys = list(self._cached)
        ids = [partition for partition, _, _ in keys]
        marks = ", ".join(["%s"] * len(ids))
        cursor.execute(f"SELECT id, nonce FROM {TABLES.partition} WHERE id IN ({marks})", ids)
        existing = set(cursor.fetchall())
        with self._lock:
            for key in keys:
                if key[:2] not in existing and key in self._cached:
                    self._bytes -= self._cached.pop(key).counted_bytes


def _state(cursor: Any, partition: int, embedder: int) -> PartitionState:
    cursor.execute(
        f"SELECT nonce, version, coalesce((SELECT max(id) FROM {TABLES.passage} WHERE partition_id = part.id "
        f"AND embedder_id = %s), 0) FROM {TABLES.partition} part WHERE id = %s",
        [embedder, partition],
    )
    return PartitionState(*(cursor.fetchone() or (0, 0, 0)))


def _ids(cursor: Any, partition: int, embedder: int) -> np.ndarray:
    cursor.execute(
        f"SELECT id FROM {TABLES.passage} WHERE partition_id = %s AND embedder_id = %s", [partition, embedder]
    )
    return np.fromiter((found[0] for found in cursor.fetchall()), "i8")


def _grown(array: np.ndarray, capacity: int) -> np.ndarray:
    grown = np.zeros((capacity, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
