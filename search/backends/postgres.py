"""The index on PostgreSQL: terms in a GIN index, vectors as pgvector's `halfvec` in a covering index by owner.

The database scans that index, exactly. A process that searches also caches the vectors of large owners: before each
search it reads what has changed, and it checks that what it finds still exists. Of everybody's vectors it caches two
bits a dimension, which select what the database ranks.
Without the extension everything else works, and search is by words alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from search.backends.base import ENDING, ROWS, NewEntry, NewPassage, OriginRow
from search.backends.everybodys_bits import EverybodysBits
from search.backends.postgres_schema import PLAIN, add_vectors, create_triggers, has_vectors, triggers
from search.backends.vector_cache import READ_ROWS, NearestPassages, PassageRows, VectorCache, bytes_per_passage
from search.tables import TABLES

logger = logging.getLogger(__name__)
INSTALL_LOCK = 0x73656172  # one process at a time creates what is missing
WRITE_LOCK = 0x73656173  # locked with a partition, so that its passages become visible in the order of their ids
TERMS_AT_ONCE = 32  # the index compares each entry that it finds with all terms of one query
MIN_CACHED_ENTRIES = 5_000  # smaller partitions' vectors are not cached
MAX_COVERED_DIMENSIONS = 1200  # an index row holds at most a third of a page
ROW = "int8send(id) || int8send(coalesce(previous_1, 0)) || int8send(coalesce(previous_2, 0)) || int4send(length)"
# Materialized, to hide the constants from the planner. It would estimate that a thousand owners' words are half of the
# table, read all of it, and start parallel workers that cost more than the query.
POSTINGS = (
    "WITH asked AS MATERIALIZED "
    "(SELECT place, wanted::bigint[] FROM unnest(%s::int[], %s::text[]) given (place, wanted)) "
    f"SELECT place, (SELECT string_agg({ROW}, ''::bytea) FROM {TABLES.entry} WHERE terms && wanted) FROM asked"
)
AROUND = (
    f"WITH known AS (SELECT unnest(%s::bigint[]) AS entry) SELECT string_agg({ROW}, ''::bytea) FROM ("
    + " UNION ALL ".join(
        f"SELECT id, previous_1, previous_2, length FROM known JOIN {TABLES.entry} ON {column} = entry"
        for column in ("id", "previous_1", "previous_2")
    )
    + ") near"
)
ORIGINS = (
    "SELECT e.id, e.length, m.id, m.conversation_id, CASE m.author WHEN '' THEN m.role ELSE m.author END, "
    f"right(m.content, {ENDING}) FROM {TABLES.entry} e JOIN {TABLES.message} m ON m.id = e.message_id "
    "WHERE e.id = ANY(%s::bigint[])"
)
READ = (
    "SELECT string_agg(int8send(id) || int8send(entry_id) || halfvec_send(vector), ''::bytea ORDER BY id) FROM "
    f"(SELECT id, entry_id, vector FROM {TABLES.passage} WHERE partition_id = %s AND embedder_id = %s AND id > %s "
    "ORDER BY id LIMIT %s) fresh"
)
# Named, so that the database computes it once for each of perhaps a million rows.
DISTANCE = "vector <#> %s::halfvec AS distance"
RANK = (
    f"SELECT entry_id, {DISTANCE} FROM (SELECT entry_id, vector FROM {TABLES.passage} "
    "WHERE id = ANY(%s::bigint[]) AND embedder_id = %s UNION ALL "
    f"SELECT entry_id, vector FROM {TABLES.passage} WHERE id > %s AND embedder_id = %s) near "
    "ORDER BY distance LIMIT %s"
)
HEAD = np.dtype([("id", ">i8"), ("entry", ">i8"), ("dimensions", ">u2"), ("unused", ">u2")])
# An entry that stays as it is costs no write.
CHANGED = "(*.message_id, *.previous_1, *.previous_2, *.length, *.terms)"
INSERT_ENTRY = (
    f"INSERT INTO {TABLES.entry} (id, message_id, previous_1, previous_2, length, terms) "
    "VALUES (%s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (id) DO UPDATE SET message_id = excluded.message_id, previous_1 = excluded.previous_1, "
    "previous_2 = excluded.previous_2, length = excluded.length, terms = excluded.terms "
    f"WHERE {CHANGED.replace('*', TABLES.entry)} IS DISTINCT FROM {CHANGED.replace('*', 'excluded')}"
)


class PostgresBackend:
    def __init__(self) -> None:
        self._vectors: bool | None = None
        self._cache = VectorCache(_read)
        self._loading: set[tuple[int, int]] = set()
        self._bits = EverybodysBits(WRITE_LOCK, self._cache)

    def install(self) -> bool:
        names = list(triggers(TABLES))
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [INSTALL_LOCK])
            cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname = ANY(%s)", [names])
            is_missing: bool = cursor.fetchone()[0] < len(names)
            if is_missing:
                create_triggers(connection, TABLES)
            if not add_vectors(connection, TABLES):
                logger.warning(
                    "The extension pgvector cannot be had here: search is by words alone. "
                    "Once CREATE EXTENSION vector has been run, `manage.py migrate` turns search by meaning on."
                )
        self._vectors = None
        return is_missing

    def has_vectors(self) -> bool:
        if not self._vectors:
            self._vectors = has_vectors(connection, TABLES)
        return self._vectors

    def fit(self, dimensions: int) -> None:
        if dimensions <= MAX_COVERED_DIMENSIONS:
            return
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DROP INDEX IF EXISTS search_passage_covering")
            cursor.execute(PLAIN.format(TABLES.passage))

    def compact(self, *, begin: bool) -> bool:
        """Do nothing: the database's own vacuum does this."""
        return False

    def write_entries(self, entries: Sequence[NewEntry]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                INSERT_ENTRY,
                [(e.id, e.message_id, e.previous_1, e.previous_2, e.length, list(e.terms)) for e in entries],
            )

    def postings(self, terms: Sequence[Sequence[int]]) -> list[np.ndarray]:
        parts = [
            (place, wanted[at : at + TERMS_AT_ONCE])
            for place, wanted in enumerate(terms)
            for at in range(0, len(wanted), TERMS_AT_ONCE)
        ]
        found: list[list[np.ndarray]] = [[] for _ in terms]
        with connection.cursor() as cursor:
            cursor.execute(POSTINGS, [[place for place, _ in parts], [_array(part) for _, part in parts]])
            for place, packed in cursor.fetchall():
                found[place].append(_rows(packed))
        return [_distinct(each) for each in found]

    def around(self, ids: Sequence[int]) -> np.ndarray:
        if not ids:
            return _rows(None)
        with connection.cursor() as cursor:
            cursor.execute(AROUND, [_array(ids)])
            return _rows(cursor.fetchone()[0])

    def origins(self, ids: Sequence[int]) -> list[OriginRow]:
        with connection.cursor() as cursor:
            cursor.execute(ORIGINS, [_array(ids)])
            rows: list[OriginRow] = cursor.fetchall()
        return rows

    def write_passages(self, passages: Sequence[NewPassage]) -> None:
        partitions = sorted({passage.partition_id for passage in passages})
        with connection.cursor() as cursor:
            for partition in partitions:
                cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [WRITE_LOCK, partition])
            cursor.executemany(
                f'INSERT INTO {TABLES.passage} (entry_id, partition_id, embedder_id, start, "end", vector) '
                "VALUES (%s, %s, %s, %s, %s, %s::halfvec)",
                [(p.entry_id, p.partition_id, p.embedder_id, p.start, p.end, _literal(p.vector)) for p in passages],
            )

    def nearest(
        self,
        partitions: Sequence[int] | None,
        embedder_id: int,
        vector: np.ndarray,
        count: int,
        allowed: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        if partitions is not None and len(partitions) == 1:
            nearest = self._nearest_cached(partitions[0], embedder_id, vector, count, allowed)
            if nearest is not None:
                return nearest.entries, nearest.cosines
        rows = None
        if partitions is None and allowed is None:
            rows = self._nearest_of_all(embedder_id, vector, count)
        if rows is None:
            rows = self._scan(partitions, embedder_id, vector, count, allowed)
        return np.array([row[0] for row in rows], dtype="i8"), -np.array([row[1] for row in rows], dtype="f4")

    def _scan(
        self,
        partitions: Sequence[int] | None,
        embedder_id: int,
        vector: np.ndarray,
        count: int,
        allowed: np.ndarray | None,
    ) -> list[Any]:
        where, parameters = _within(partitions, embedder_id)
        if allowed is not None:
            where += " AND entry_id = ANY(%s::bigint[])"
            parameters.append(_array(allowed))
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT entry_id, {DISTANCE} FROM {TABLES.passage} WHERE {where} ORDER BY distance LIMIT %s",
                [_literal(vector), *parameters, count],
            )
            rows: list[Any] = cursor.fetchall()
        return rows

    def _nearest_of_all(self, embedder_id: int, vector: np.ndarray, count: int) -> list[Any] | None:
        """Return the nearest of the candidates that the bits select; None if everything has to be scanned."""
        with connection.cursor() as cursor:
            found = self._bits.candidates(cursor, embedder_id, vector, count)
            if found is None:
                return None
            cursor.execute(RANK, [_literal(vector), _array(found.ids), embedder_id, found.end, embedder_id, count])
            rows = cursor.fetchall()
        return rows if len(rows) == count else None  # most of the candidates have been deleted

    def _nearest_cached(
        self, partition: int, embedder_id: int, vector: np.ndarray, count: int, allowed: np.ndarray | None
    ) -> NearestPassages | None:
        """Return the nearest of the cached vectors; None if they are not cached, or not loaded yet."""
        with connection.cursor() as cursor:
            vectors = self._cache.get(cursor, partition, embedder_id)
            if vectors is None:
                cursor.execute(f"SELECT next_seq FROM {TABLES.partition} WHERE id = %s", [partition])
                [size] = cursor.fetchone() or [0]
                if MIN_CACHED_ENTRIES <= size <= settings.SEARCH_CACHE_MB * 2**20 // bytes_per_passage(vector.size):
                    self._begin_to_load(partition, embedder_id, vector.size)
                return None
            vector = vector.astype("f2").astype("f4")  # rounded as in the database
            nearest = vectors.nearest(vector, count, allowed)
            # A deletion takes no lock that would block others, so the cache is not told about it.
            while len(gone := _gone(cursor, nearest.ids)):
                with vectors.lock:
                    vectors.drop(gone)
                nearest = vectors.nearest(vector, count, allowed)
        return nearest

    @property
    def is_loading(self) -> bool:
        return bool(self._loading) or self._bits.is_loading

    def _begin_to_load(self, partition: int, embedder_id: int, dimensions: int) -> None:
        key = (partition, embedder_id)
        if key not in self._loading:
            self._loading.add(key)
            threading.Thread(target=self._load, args=(*key, dimensions), name="vectors", daemon=True).start()

    def _load(self, partition: int, embedder_id: int, dimensions: int) -> None:
        try:
            with connection.cursor() as cursor:
                self._cache.load(cursor, partition, embedder_id, dimensions)
        except DatabaseError as error:
            logger.warning("vectors were not loaded: %s", type(error).__name__)
        finally:
            connection.close()
            self._loading.discard((partition, embedder_id))

    def similarities(
        self, partitions: Sequence[int] | None, embedder_id: int, vector: np.ndarray, ids: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        where, parameters = _within(partitions, embedder_id)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT entry_id, -(vector <#> %s::halfvec), start FROM {TABLES.passage} "
                f"WHERE {where} AND entry_id = ANY(%s::bigint[])",
                [_literal(vector), *parameters, _array(ids)],
            )
            rows = cursor.fetchall()
        entries, cosines, starts = zip(*rows, strict=True) if rows else ((), (), ())
        return np.array(entries, "i8"), np.array(cosines, "f4"), np.array(starts, "i8")


def _read(cursor: Any, partition: int, embedder: int, after: int) -> PassageRows:
    cursor.execute(READ, [partition, embedder, after, READ_ROWS])
    packed = bytes(cursor.fetchone()[0] or b"")
    dimensions = int(np.frombuffer(packed, HEAD, 1)["dimensions"][0]) if packed else 0
    rows = np.frombuffer(packed, [*HEAD.descr, ("vector", ">f2", (dimensions,))])
    return PassageRows(rows["id"], rows["entry"], rows["vector"])


def _gone(cursor: Any, ids: np.ndarray) -> np.ndarray:
    """Return which of these passages no longer exist."""
    cursor.execute(f"SELECT id FROM {TABLES.passage} WHERE id = ANY(%s::bigint[])", [_array(ids)])
    return np.setdiff1d(ids, np.fromiter((row[0] for row in cursor.fetchall()), "i8"))


def _within(partitions: Sequence[int] | None, embedder_id: int) -> tuple[str, list[Any]]:
    if partitions is None:
        return "embedder_id = %s", [embedder_id]
    if len(partitions) == 1:
        return "partition_id = %s AND embedder_id = %s", [partitions[0], embedder_id]
    return "partition_id = ANY(%s) AND embedder_id = %s", [list(partitions), embedder_id]


def _array(numbers: Iterable[int]) -> str:
    """Return a `bigint[]` in PostgreSQL's text form: the driver would examine each number of a list by itself."""
    return f"{{{','.join(map(str, numbers))}}}"


def _rows(packed: Any) -> np.ndarray:
    return np.frombuffer(bytes(packed) if packed is not None else b"", dtype=ROWS)


def _distinct(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Merge the rows of several queries, without duplicates."""
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([_rows(None), *parts])
    _, first = np.unique(rows["id"].astype("i8"), return_index=True)
    return rows[first]


def _literal(vector: np.ndarray) -> str:
    return f"[{','.join(map('{:.6g}'.format, vector.tolist()))}]"
