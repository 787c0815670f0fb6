"""Everybody's vectors in two bits a dimension, cached in memory: they tell which passages may be among the nearest.

The database then ranks those few exactly, and with them whatever is newer than the bits, so that what was deleted is
not found and what is new is found at once. A thread keeps the bits up to date while they are in use.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, NamedTuple

import numpy as np
import simsimd
from django.conf import settings
from django.db import DatabaseError, connection

from search.backends.vector_cache import VectorCache
from search.tables import TABLES

logger = logging.getLogger(__name__)
READ_ROWS = 65_536  # per query, and at most in one block
MIN_PASSAGES = 50_000  # fewer are scanned by the database as quickly
CANDIDATES, CANDIDATES_EACH = 3_000, 2  # how many passages the database ranks, and how many more for each asked for
FAR = 0.98  # standard deviations: the best for two bits of a normally distributed number
PLANES = 4  # bits of a question's dimension
WEIGHTS = 2.0 ** np.arange(PLANES, dtype="f4")
MAX_SHARE = 8  # if more than this part of all were candidates, the database scans everything as quickly
ADVANCE_SECONDS = 10.0  # how often new passages are added
EVICTION_SECONDS = 60.0  # how often those of deleted passages are removed
IDLE_SECONDS = 600.0  # bits that no search used for so long are dropped
# Whoever writes passages holds a lock, from before their ids are drawn until they are visible.
NOBODY_WRITES = (
    "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
    "AND classid = %s AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)
# The higher bit tells the sign, the lower one whether the number is far from zero, if positive, or else near to it.
HIGH, LOW = (
    "binary_quantize(vector)",
    "(binary_quantize(vector - far) | (binary_quantize(vector + far) & ~binary_quantize(vector)))",
)
READ = (
    f"SELECT string_agg(int8send(id) || bit_send({HIGH}) || bit_send({LOW}), ''::bytea ORDER BY id) FROM "
    f"(SELECT id, vector, %s::halfvec AS far FROM {TABLES.passage} WHERE id > %s AND id <= %s AND embedder_id = %s "
    "ORDER BY id LIMIT %s) fresh"
)
EXISTING = f"SELECT string_agg(int8send(id), ''::bytea) FROM {TABLES.passage} WHERE id BETWEEN %s AND %s"


class Block(NamedTuple):
    """Passages sorted by id (n,), and their bits (n, dimensions / 4): all higher ones, then the lower ones."""

    ids: np.ndarray
    bits: np.ndarray


class Settled(NamedTuple):
    """The bits of every passage up to `end` that exists: none can still appear among them."""

    end: int
    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        return sum(len(block.ids) for block in self.blocks)


class Candidates(NamedTuple):
    """The passages that may be among the nearest: these, and all with an id after `end`."""

    ids: np.ndarray
    end: int


class EmbedderBits:
    """The bits of all passages by one embedder. One thread changes them, others search at the same time."""

    def __init__(self, embedder: int, dimensions: int, write_lock: int) -> None:
        self._embedder, self._write_lock = embedder, write_lock
        size = (-(-dimensions // 8),)
        self._kind = np.dtype(
            [("id", ">i8"), ("size", ">i4"), ("high", "u1", size), ("size_too", ">i4"), ("low", "u1", size)]
        )
        self._far = f"[{','.join([f'{FAR / dimensions**0.5:.6g}'] * dimensions)}]"
        self.used_at = self._evicted_at = time.monotonic()
        self.settled: Settled | None = None
        self.fits = True

    @property
    def nbytes(self) -> int:
        settled = self.settled  # read once: the thread may drop it
        return _nbytes(settled.blocks) if settled else 0

    def candidates(self, vector: np.ndarray, count: int) -> Candidates | None:
        """Return the candidates for the `count` nearest; None if they are not loaded, or too many."""
        settled = self.settled
        wanted = CANDIDATES + CANDIDATES_EACH * count
        if settled is None or wanted * MAX_SHARE > settled.size:
            return None
        planes = question_planes(vector)
        distances = np.concatenate([distances_of(planes, block.bits) for block in settled.blocks])
        near = np.flatnonzero(distances <= np.partition(distances, wanted)[wanted])
        # Many passages can be at the same distance: those of a text that was sent often.
        near = near[np.argsort(distances[near], kind="stable")][:wanted]
        return Candidates(np.concatenate([block.ids for block in settled.blocks])[near], settled.end)

    def refresh(self, cursor: Any, room: int) -> None:
        """Add and remove what has changed; nothing is kept if it needs more than `room` bytes."""
        if self.fits:
            self.advance(cursor, room)
        if self.settled is not None and time.monotonic() >= self._evicted_at + EVICTION_SECONDS:
            self._evicted_at = time.monotonic()
            self.evict(cursor)

    def advance(self, cursor: Any, room: int) -> None:
        """Add the passages that have settled since."""
        cursor.execute(f"SELECT coalesce(max(id), 0) FROM {TABLES.passage}")
        [end] = cursor.fetchone()
        cursor.execute(NOBODY_WRITES, [self._write_lock])
        last, blocks = self.settled or Settled(0, ())
        if end <= last or not cursor.fetchone()[0]:
            return
        # Queries from here on see everything up to `end` that will ever be visible.
        while True:
            cursor.execute(READ, [self._far, last, end, self._embedder, READ_ROWS])
            rows = np.frombuffer(bytes(cursor.fetchone()[0] or b""), self._kind)
            blocks = _with_more(blocks, Block(rows["id"].astype("i8"), np.hstack([rows["high"], rows["low"]])))
            if _nbytes(blocks) > room:
                self.settled, self.fits = None, False
                return
            if len(rows) < READ_ROWS:
                break
            last = int(rows["id"][-1])
        self.settled = Settled(end, blocks)

    def evict(self, cursor: Any) -> None:
        """Remove the bits of passages that no longer exist."""
        settled = self.settled or Settled(0, ())
        kept: tuple[Block, ...] = ()
        for block in settled.blocks:
            cursor.execute(EXISTING, [int(block.ids[0]), int(block.ids[-1])])
            existing = np.isin(block.ids, np.frombuffer(bytes(cursor.fetchone()[0] or b""), ">i8").astype("i8"))
            kept = _with_more(kept, block if existing.all() else Block(block.ids[existing], block.bits[existing]))
        self.settled = Settled(settled.end, kept)


class EverybodysBits:
    """The bits of this process, by embedder; each is kept by a thread until no search has used it for a while."""

    def __init__(self, write_lock: int, cache: VectorCache) -> None:
        self._write_lock, self._cache = write_lock, cache
        self._by_embedder: dict[int, EmbedderBits] = {}
        self._lock = threading.Lock()

    @property
    def is_loading(self) -> bool:
        return any(bits.settled is None and bits.fits for bits in list(self._by_embedder.values()))

    def candidates(self, cursor: Any, embedder: int, vector: np.ndarray, count: int) -> Candidates | None:
        """Return the candidates for the `count` nearest; None if the database has to scan everything."""
        bits = self._by_embedder.get(embedder)
        if bits is None:
            cursor.execute(f"SELECT coalesce(sum(next_seq), 0) FROM {TABLES.partition}")
            if MIN_PASSAGES <= cursor.fetchone()[0] <= self._room(embedder) // bytes_per_passage(vector.size):
                self._begin(embedder, vector.size)
            return None
        bits.used_at = time.monotonic()
        return bits.candidates(vector, count)

    def _begin(self, embedder: int, dimensions: int) -> None:
        with self._lock:
            if embedder in self._by_embedder:
                return
            bits = self._by_embedder[embedder] = EmbedderBits(embedder, dimensions, self._write_lock)
        threading.Thread(target=self._keep, args=(embedder, bits), name="bits", daemon=True).start()

    def _keep(self, embedder: int, bits: EmbedderBits) -> None:
        try:
            while time.monotonic() < bits.used_at + IDLE_SECONDS:
                with connection.cursor() as cursor:
                    bits.refresh(cursor, self._room(embedder))
                connection.close()
                self._count()
                time.sleep(ADVANCE_SECONDS)
        except DatabaseError as error:
            logger.warning("everybody's vectors were not loaded: %s", type(error).__name__)
        finally:
            connection.close()
            with self._lock:
                del self._by_embedder[embedder]
            self._count()

    def _count(self) -> None:
        """Leave the cache of vectors what remains of SEARCH_CACHE_MB."""
        self._cache.reserved = sum(bits.nbytes for bits in list(self._by_embedder.values()))

    def _room(self, embedder: int) -> int:
        """Return how many bytes those of this embedder may take."""
        others = [bits.nbytes for number, bits in list(self._by_embedder.items()) if number != embedder]
        room: int = settings.SEARCH_CACHE_MB * 2**20 - sum(others)
        return room


def bytes_per_passage(dimensions: int) -> int:
    return 8 + 2 * -(-dimensions // 8)


def question_planes(vector: np.ndarray) -> np.ndarray:
    """Return the bits of a question: PLANES of them a dimension, for a passage's higher bits and for its lower ones."""
    scaled = vector / max(float(np.abs(vector).max()), 1e-9) * 2 ** (PLANES - 1)
    # A passage's higher bit counts twice as much as its lower one.
    planes = [_planes(scaled), _planes(scaled / 2)]
    return np.hstack(planes)


def _planes(scaled: np.ndarray) -> np.ndarray:
    numbers = np.clip(np.floor(scaled) + 2 ** (PLANES - 1), 0, 2**PLANES - 1).astype("u1")
    return np.packbits(numbers >> np.arange(PLANES, dtype="u1")[:, None] & 1, axis=1)


def distances_of(planes: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Return how far passages are from a question: with -1 and 1 for the bits, these are dot products."""
    each = np.asarray(simsimd.cdist(planes, bits, "hamming", dtype="bin8", out_dtype="float32"))
    distances: np.ndarray = WEIGHTS @ each
    return distances


def _nbytes(blocks: tuple[Block, ...]) -> int:
    return sum(block.ids.nbytes + block.bits.nbytes for block in blocks)


def _with_more(blocks: tuple[Block, ...], more: Block) -> tuple[Block, ...]:
    """Return the blocks with another, as part of the last one if there is room."""
    if not len(more.ids):
        return blocks
    if blocks and len(blocks[-1].ids) + len(more.ids) <= READ_ROWS:
        last = blocks[-1]
        more = Block(np.concatenate([last.ids, more.ids]), np.concatenate([last.bits, more.bits]))
        blocks = blocks[:-1]
    return (*blocks, more)
