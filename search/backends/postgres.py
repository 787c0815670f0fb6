"""The index on PostgreSQL: terms in a GIN index, vectors as pgvector's `halfvec` in a covering index by owner.

Without the extension everything else works, and search is by words alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from django.db import DatabaseError, connection, transaction

from search.backends.base import ROWS, NewEntry, NewPassage
from search.backends.postgres_triggers import TRIGGER_NAMES, TRIGGERS

logger = logging.getLogger(__name__)
INSTALL_LOCK = 0x73656172  # one process at a time creates things
WIDEST_COVERED = 1200  # dimensions: an index row holds at most a third of a page
ROW = "int8send(id) || int8send(coalesce(before, 0)) || int8send(coalesce(before_that, 0)) || int4send(length)"
COVERING = (
    "CREATE INDEX IF NOT EXISTS search_passage_vector ON search_passage (space_id, embedder_id) "
    "INCLUDE (entry_id, vector)"
)
PLAIN = "CREATE INDEX IF NOT EXISTS search_passage_space ON search_passage (space_id, embedder_id)"
INSERT_ENTRY = (
    "INSERT INTO search_entry (id, message_id, before, before_that, length, terms) VALUES (%s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (id) DO UPDATE SET message_id = excluded.message_id, before = excluded.before, "
    "before_that = excluded.before_that, length = excluded.length, terms = excluded.terms"
)


class PostgresBackend:
    def __init__(self) -> None:
        self._vectors: bool | None = None

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
            cursor.execute("DROP INDEX IF EXISTS search_passage_vector")
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
        one = f"SELECT %s, string_agg({ROW}, ''::bytea) FROM search_entry WHERE terms && %s::bigint[]"
        parameters = [value for place, alternatives in enumerate(terms) for value in (place, list(alternatives))]
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join([one] * len(terms)), parameters)
            found = {place: _rows(packed) for place, packed in cursor.fetchall()}
        return [found[place] for place in range(len(terms))]

    def around(self, ids: Sequence[int]) -> np.ndarray:
        if not ids:
            return _rows(None)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT string_agg({ROW}, ''::bytea) FROM search_entry "
                "WHERE id = ANY(%s) OR before = ANY(%s) OR before_that = ANY(%s)",
                [list(ids)] * 3,
            )
            return _rows(cursor.fetchone()[0])

    def write_passages(self, passages: Sequence[NewPassage]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                'INSERT INTO search_passage (entry_id, space_id, embedder_id, start, "end", vector) '
                "VALUES (%s, %s, %s, %s, %s, %s::halfvec)",
                [(p.entry_id, p.space_id, p.embedder_id, p.start, p.end, _literal(p.vector)) for p in passages],
            )

    def nearest(
        self, spaces: Sequence[int] | None, embedder_id: int, vector: np.ndarray, count: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        where, parameters = _within(spaces, embedder_id)
        if allowed is not None:
            where += " AND entry_id = ANY(%s)"
            parameters.append(allowed.tolist())
        return self._cosines(f"{where} ORDER BY vector <#> %s::halfvec LIMIT %s", parameters, vector, count)

    def similarities(
        self, spaces: Sequence[int] | None, embedder_id: int, vector: np.ndarray, ids: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        where, parameters = _within(spaces, embedder_id)
        return self._cosines(f"{where} AND entry_id = ANY(%s)", [*parameters, list(ids)], vector, None)

    def _cosines(
        self, where: str, parameters: list[Any], vector: np.ndarray, count: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        literal = _literal(vector)
        rest = [] if count is None else [literal, count]
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT entry_id, -(vector <#> %s::halfvec) FROM search_passage WHERE {where}",
                [literal, *parameters, *rest],
            )
            rows = cursor.fetchall()
        return np.array([row[0] for row in rows], dtype="i8"), np.array([row[1] for row in rows], dtype="f4")


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


def _rows(packed: Any) -> np.ndarray:
    return np.frombuffer(bytes(packed) if packed is not None else b"", dtype=ROWS)


def _literal(vector: np.ndarray) -> str:
    return f"[{','.join(map('{:.6g}'.format, vector.tolist()))}]"
