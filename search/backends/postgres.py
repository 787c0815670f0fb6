"""The index on PostgreSQL: terms in a GIN index, vectors as pgvector's `halfvec` in a covering index by owner.

The database scans that index, exactly. Of an owner with much, every process that searches keeps the vectors beside it:
what changed is read before each search, and what it finds must still be there.
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

from search.backends.base import ROWS, NewEntry, NewPassage
from search.backends.postgres_triggers import TRIGGER_NAMES, TRIGGERS
from search.backends.shelves import CHUNK, Near, Rows, Shelves, room_for_one

logger = logging.getLogger(__name__)
INSTALL_LOCK = 0x73656172  # one process at a time creates things
WRITE_LOCK = 0x73656173  # with a space: its passages become visible in the order of their ids
MUCH = 5_000  # entries of a space from which on its vectors are kept in memory
WIDEST_COVERED = 1200  # dimensions: an index row holds at most a third of a page
ROW = "int8send(id) || int8send(coalesce(before, 0)) || int8send(coalesce(before_that, 0)) || int4send(length)"
AROUND = (
    f"WITH known AS (SELECT unnest(%s::bigint[]) AS entry) SELECT string_agg({ROW}, ''::bytea) FROM ("
    + " UNION ALL ".join(
        f"SELECT id, before, before_that, length FROM known JOIN search_entry ON {column} = entry"
        for column in ("id", "before", "before_that")
    )
    + ") near"
)
# With the id, so that what is new to a process is the end of a range.
COVERING = (
    "CREATE INDEX IF NOT EXISTS search_passage_covering ON search_passage (space_id, embedder_id, id) "
    "INCLUDE (entry_id, vector)"
)
PLAIN = "CREATE INDEX IF NOT EXISTS search_passage_plain ON search_passage (space_id, embedder_id, id)"
FORMER = {"search_passage_vector": COVERING, "search_passage_space": PLAIN}  # what took their place
READ = (
    "SELECT string_agg(int8send(id) || int8send(entry_id) || halfvec_send(vector), ''::bytea ORDER BY id) FROM "
    "(SELECT id, entry_id, vector FROM search_passage WHERE space_id = %s AND embedder_id = %s AND id > %s "
    "ORDER BY id LIMIT %s) fresh"
)
HEAD = np.dtype([("id", ">i8"), ("entry", ">i8"), ("dimensions", ">u2"), ("unused", ">u2")])
INSERT_ENTRY = (
    "INSERT INTO search_entry (id, message_id, before, before_that, length, terms) VALUES (%s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (id) DO UPDATE SET message_id = excluded.message_id, before = excluded.before, "
    "before_that = excluded.before_that, length = excluded.length, terms = excluded.terms"
)


class PostgresBackend:
    def __init__(self) -> None:
        self._vectors: bool | None = None
        self._shelves = Shelves(_read)
        self._loading: set[tuple[int, int]] = set()

    def install(self) -> bool:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [INSTALL_LOCK])
            if not _has_column(cursor, "search_entry", "terms"):
                cursor.execute("ALTER TABLE search_entry ADD COLUMN terms bigint[] NOT NULL DEFAULT '{}'")
                cursor.execute("CREATE INDEX search_entry_terms ON search_entry USING gin (terms)")
            cursor.execute("SELECT tgname FROM pg_trigger WHERE tgname = ANY(%s)", [TRIGGER_NAMES])
            missing = len(TRIGGER_NAMES) - cursor.rowcount
            for statement in TRIGGERS:
                cursor.execute(statement)
            if not _has_column(cursor, "search_passage", "vector"):
                self._add_vectors(cursor)
            for name, index in FORMER.items():
                cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
                if cursor.fetchone()[0]:
                    cursor.execute(index)
                    cursor.execute(f"DROP INDEX {name}")
        self._vectors = None
        return missing > 0

    def _add_vectors(self, cursor: Any) -> None:
        try:
            with transaction.atomic():
                cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
                cursor.execute("ALTER TABLE search_passage ADD COLUMN vector halfvec NOT NULL")
                cursor.execute(COVERING)
        except DatabaseError:
            logger.warning(
                "The extension pgvector cannot be had here: search is by words alone. "
                "Once CREATE EXTENSION vector has been run, `manage.py migrate` turns search by meaning on."
            )

    def uninstall(self) -> None:
        """Nothing: PostgreSQL changes tables under their triggers."""

    def has_vectors(self) -> bool:
        if not self._vectors:
            with connection.cursor() as cursor:
                self._vectors = _has_column(cursor, "search_passage", "vector")
        return self._vectors

    def fit(self, dimensions: int) -> None:
        if dimensions <= WIDEST_COVERED:
            return
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DROP INDEX IF EXISTS search_passage_covering")
            cursor.execute(PLAIN)

    def compact(self, *, begin: bool) -> bool:
        """Nothing: the database's own vacuum does it."""
        return False

    def write_entries(self, entries: Sequence[NewEntry]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                INSERT_ENTRY, [(e.id, e.message_id, e.before, e.before_that, e.length, list(e.terms)) for e in entries]
            )

    def postings(self, terms: Sequence[Sequence[int]]) -> list[np.ndarray]:
        if not terms:
            return []
        asked = ", ".join(["(%s, %s::bigint[])"] * len(terms))
        parameters = [value for place, wanted in enumerate(terms) for value in (place, _array(wanted))]
        with connection.cursor() as cursor:
            # Materialized, so that the planner sees no constants: it takes a thousand owners' words for half the table
            # and reads all of it, and starts parallel workers for what takes less time than starting them.
            cursor.execute(
                f"WITH asked (place, wanted) AS MATERIALIZED (VALUES {asked}) SELECT place, "
                f"(SELECT string_agg({ROW}, ''::bytea) FROM search_entry WHERE terms && wanted) FROM asked",
                parameters,
            )
            found = {place: _rows(packed) for place, packed in cursor.fetchall()}
        return [found[place] for place in range(len(terms))]

    def around(self, ids: Sequence[int]) -> np.ndarray:
        if not ids:
            return _rows(None)
        with connection.cursor() as cursor:
            cursor.execute(AROUND, [_array(ids)])
            return _rows(cursor.fetchone()[0])

    def write_passages(self, passages: Sequence[NewPassage]) -> None:
        spaces = sorted({passage.space_id for passage in passages})
        with connection.cursor() as cursor:
            for space in spaces:
                cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [WRITE_LOCK, space])
            cursor.executemany(
                'INSERT INTO search_passage (entry_id, space_id, embedder_id, start, "end", vector) '
                "VALUES (%s, %s, %s, %s, %s, %s::halfvec)",
                [(p.entry_id, p.space_id, p.embedder_id, p.start, p.end, _literal(p.vector)) for p in passages],
            )

    def nearest(
        self, spaces: Sequence[int] | None, embedder_id: int, vector: np.ndarray, count: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        if spaces is not None and len(spaces) == 1:
            near = self._from_shelf(spaces[0], embedder_id, vector, count, allowed)
            if near is not None:
                return near.entries, near.cosines
        where, parameters = _within(spaces, embedder_id)
        if allowed is not None:
            where += " AND entry_id = ANY(%s::bigint[])"
            parameters.append(_array(allowed))
        literal = _literal(vector)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT entry_id, -(vector <#> %s::halfvec) FROM search_passage "
                f"WHERE {where} ORDER BY vector <#> %s::halfvec LIMIT %s",
                [literal, *parameters, literal, count],
            )
            rows = cursor.fetchall()
        return np.array([row[0] for row in rows], dtype="i8"), np.array([row[1] for row in rows], dtype="f4")

    def _from_shelf(
        self, space: int, embedder_id: int, vector: np.ndarray, count: int, allowed: np.ndarray | None
    ) -> Near | None:
        """Return the nearest of what is kept in memory; None where it is not, or not yet."""
        with connection.cursor() as cursor:
            shelf = self._shelves.loaded(cursor, space, embedder_id)
            if shelf is None:
                cursor.execute("SELECT next_seq FROM search_space WHERE id = %s", [space])
                [size] = cursor.fetchone() or [0]
                if MUCH <= size <= settings.SEARCH_CACHE_MB * 2**20 // room_for_one(vector.size):
                    self._begin_to_load(space, embedder_id, vector.size)
                return None
            vector = vector.astype("f2").astype("f4")  # as the database rounds it
            near = shelf.nearest(vector, count, allowed)
            # Deletions lock nothing that others need, and so leave no mark for whoever has the vectors.
            while len(gone := _gone(cursor, near.ids)):
                with shelf.lock:
                    shelf.drop(gone)
                near = shelf.nearest(vector, count, allowed)
        return near

    @property
    def is_loading(self) -> bool:
        return bool(self._loading)

    def _begin_to_load(self, space: int, embedder_id: int, dimensions: int) -> None:
        key = (space, embedder_id)
        if key not in self._loading:
            self._loading.add(key)
            threading.Thread(target=self._load, args=(*key, dimensions), name="vectors", daemon=True).start()

    def _load(self, space: int, embedder_id: int, dimensions: int) -> None:
        try:
            with connection.cursor() as cursor:
                self._shelves.open(cursor, space, embedder_id, dimensions)
        except DatabaseError as error:
            logger.warning("vectors were not loaded: %s", type(error).__name__)
        finally:
            connection.close()
            self._loading.discard((space, embedder_id))

    def similarities(
        self, spaces: Sequence[int] | None, embedder_id: int, vector: np.ndarray, ids: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        where, parameters = _within(spaces, embedder_id)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT entry_id, -(vector <#> %s::halfvec), start FROM search_passage "
                f"WHERE {where} AND entry_id = ANY(%s::bigint[])",
                [_literal(vector), *parameters, _array(ids)],
            )
            rows = cursor.fetchall()
        entries, cosines, starts = zip(*rows, strict=True) if rows else ((), (), ())
        return np.array(entries, "i8"), np.array(cosines, "f4"), np.array(starts, "i8")


def _read(cursor: Any, space: int, embedder: int, after: int) -> Rows:
    cursor.execute(READ, [space, embedder, after, CHUNK])
    packed = bytes(cursor.fetchone()[0] or b"")
    dimensions = int(np.frombuffer(packed, HEAD, 1)["dimensions"][0]) if packed else 0
    rows = np.frombuffer(packed, [*HEAD.descr, ("vector", ">f2", (dimensions,))])
    return Rows(rows["id"], rows["entry"], rows["vector"])


def _gone(cursor: Any, ids: np.ndarray) -> np.ndarray:
    """Return those of these passages that are there no more."""
    cursor.execute("SELECT id FROM search_passage WHERE id = ANY(%s::bigint[])", [_array(ids)])
    return np.setdiff1d(ids, np.fromiter((row[0] for row in cursor.fetchall()), "i8"))


def _has_column(cursor: Any, table: str, column: str) -> bool:
    cursor.execute(
        "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped",
        [table, column],
    )
    return cursor.fetchone() is not None


def _within(spaces: Sequence[int] | None, embedder_id: int) -> tuple[str, list[Any]]:
    if spaces is None:
        return "embedder_id = %s", [embedder_id]
    if len(spaces) == 1:
        return "space_id = %s AND embedder_id = %s", [spaces[0], embedder_id]
    return "space_id = ANY(%s) AND embedder_id = %s", [list(spaces), embedder_id]


def _array(numbers: Iterable[int]) -> str:
    """Return a `bigint[]` as PostgreSQL writes it: the driver looks at each number of a list by itself."""
    return f"{{{','.join(map(str, numbers))}}}"


def _rows(packed: Any) -> np.ndarray:
    return np.frombuffer(bytes(packed) if packed is not None else b"", dtype=ROWS)


def _literal(vector: np.ndarray) -> str:
    return f"[{','.join(map('{:.6g}'.format, vector.tolist()))}]"
