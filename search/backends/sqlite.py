"""The index on SQLite: terms in FTS5, vectors as packed float16, scanned whole by space in this process's memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from django.db import connection, transaction

from search.backends.base import NewEntry, NewPassage, as_rows
from search.backends.shelves import CHUNK, Rows, Shelf, Shelves, cosines_of
from search.backends.sqlite_schema import LEAVE, LEFT, LEFTOVER_TABLE, MERGING, TEXT_TABLE, TRIGGERS

MOST_VARIABLES = 900
MERGE_PAGES = 64  # of the full text's index at once: some milliseconds
# Which rows hold long terms: an index with all that is asked spares reading them. By name, since SQLite thinks more of
# the unique one.
COVERING = "search_entry_row"
SELECT_ROW = "SELECT e.id, coalesce(e.before, 0), coalesce(e.before_that, 0), e.length"
SELECT_BY_ID = f"{SELECT_ROW} FROM search_entry e INDEXED BY {COVERING} WHERE e.id"
AROUND = "WITH known (entry) AS MATERIALIZED (SELECT value FROM json_each(%s)) " + " UNION ALL ".join(
    f"{SELECT_ROW} FROM known CROSS JOIN search_entry e INDEXED BY {index} ON e.{column} = known.entry"
    for column, index in (
        ("id", COVERING),
        ("before", "search_entry_after"),
        ("before_that", "search_entry_after_that"),
    )
)
INSERT_ENTRY = (
    "INSERT INTO search_entry (id, message_id, before, before_that, length, terms) VALUES (%s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (id) DO UPDATE SET message_id = excluded.message_id, before = excluded.before, "
    "before_that = excluded.before_that, length = excluded.length, terms = excluded.terms"
)


class SqliteBackend:
    def __init__(self) -> None:
        self._shelves = Shelves(_read)

    def install(self) -> bool:
        with transaction.atomic(), connection.cursor() as cursor:
            if not _has_column(cursor, "search_entry", "terms"):
                cursor.execute("ALTER TABLE search_entry ADD COLUMN terms text NOT NULL DEFAULT ''")
            if not _has_column(cursor, "search_passage", "vector"):
                cursor.execute("ALTER TABLE search_passage ADD COLUMN vector blob NOT NULL DEFAULT x''")
                cursor.execute("CREATE INDEX search_passage_space ON search_passage (space_id, embedder_id, id)")
            cursor.execute(f"CREATE INDEX IF NOT EXISTS {COVERING} ON search_entry (id, before, before_that, length)")
            cursor.execute("SELECT name FROM sqlite_master WHERE type IN ('trigger', 'table')")
            there = {name for (name,) in cursor.fetchall()}
            if "search_text" not in there:
                cursor.execute(TEXT_TABLE)
                cursor.execute("INSERT INTO search_text (search_text) VALUES ('rebuild')")
            if "search_leftover" not in there:
                cursor.execute(LEFTOVER_TABLE)
                if "search_text" in there:
                    cursor.execute(LEAVE)  # an earlier version did not note it
            missing = [name for name in TRIGGERS if name not in there]
            for name in missing:
                cursor.execute(f"CREATE TRIGGER {name} {TRIGGERS[name]}")
        return bool(missing)

    def uninstall(self) -> None:
        """Drop the triggers: a changed table is a new one to SQLite, and triggers that name it stand in its way."""
        with connection.cursor() as cursor:
            for name in TRIGGERS:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")

    def has_vectors(self) -> bool:
        return True

    def fit(self, dimensions: int) -> None:
        """Nothing: a blob is as long as it is."""

    def compact(self, *, begin: bool) -> bool:
        wanted = (LEFT, MERGING) if begin else (MERGING,)
        if _leftover() not in wanted:  # asked without the lock that a transaction takes here
            return False
        with transaction.atomic(), connection.cursor() as cursor:
            state = _leftover()
            if state not in wanted:
                return False
            # A negative number of pages begins to merge all there is; see "Special INSERT commands" of FTS5.
            pages = -MERGE_PAGES if state == LEFT else MERGE_PAGES
            before = _changes(cursor)
            cursor.execute("INSERT INTO search_text (search_text, rank) VALUES ('merge', %s)", [pages])
            if state == MERGING and _changes(cursor) - before < 2:
                cursor.execute("DELETE FROM search_leftover")
            else:
                cursor.execute("UPDATE search_leftover SET state = %s", [MERGING])
        return True

    def write_entries(self, entries: Sequence[NewEntry]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                INSERT_ENTRY,
                [
                    (e.id, e.message_id.hex, e.before, e.before_that, e.length, " ".join(map(_word, e.terms)))
                    for e in entries
                ],
            )

    def postings(self, terms: Sequence[Sequence[int]]) -> list[np.ndarray]:
        found = []
        with connection.cursor() as cursor:
            for alternatives in terms:
                rows: list[tuple] = []
                for part in _parts(alternatives):
                    cursor.execute(
                        f"{SELECT_BY_ID} IN (SELECT rowid FROM search_text WHERE search_text MATCH %s)",
                        [" OR ".join(map(_word, part))],
                    )
                    rows += cursor.fetchall()
                found.append(as_rows(rows))
        return found

    def around(self, ids: Sequence[int]) -> np.ndarray:
        with connection.cursor() as cursor:
            cursor.execute(AROUND, [json.dumps(list(ids))])
            return as_rows(cursor.fetchall())

    def write_passages(self, passages: Sequence[NewPassage]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                'INSERT INTO search_passage (entry_id, space_id, embedder_id, start, "end", vector) '
                "VALUES (%s, %s, %s, %s, %s, %s)",
                [
                    (p.entry_id, p.space_id, p.embedder_id, p.start, p.end, p.vector.astype("<f2").tobytes())
                    for p in passages
                ],
            )

    def nearest(
        self, spaces: Sequence[int] | None, embedder_id: int, vector: np.ndarray, count: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        best: list[tuple[np.ndarray, np.ndarray]] = []
        for shelf in self._open(spaces, embedder_id, vector.size):
            near = shelf.nearest(vector, count, allowed)
            best.append((near.entries, near.cosines))
        if len(best) == 1:
            return best[0]
        ids = np.concatenate([each[0] for each in best] or [np.zeros(0, "i8")])
        cosines = np.concatenate([each[1] for each in best] or [np.zeros(0, "f4")])
        order = np.lexsort((ids, -cosines))[:count]
        return ids[order], cosines[order]

    def similarities(
        self, spaces: Sequence[int] | None, embedder_id: int, vector: np.ndarray, ids: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT entry_id, vector, start FROM search_passage "
                "WHERE embedder_id = %s AND entry_id IN (SELECT value FROM json_each(%s))",
                [embedder_id, json.dumps(list(ids))],
            )
            rows = cursor.fetchall()
        if not rows:
            return np.zeros(0, "i8"), np.zeros(0, "f4"), np.zeros(0, "i8")
        matrix = np.frombuffer(b"".join(row[1] for row in rows), "<f2").reshape(len(rows), -1)
        entries, _, starts = zip(*rows, strict=True)
        return np.array(entries, "i8"), cosines_of(matrix, vector), np.array(starts, "i8")

    def _open(self, spaces: Sequence[int] | None, embedder_id: int, dimensions: int) -> Iterable[Shelf]:
        with connection.cursor() as cursor:
            if spaces is None:
                cursor.execute("SELECT id FROM search_space ORDER BY id")
                spaces = [row[0] for row in cursor.fetchall()]
            for space in spaces:
                yield self._shelves.open(cursor, space, embedder_id, dimensions)


def _read(cursor: Any, space: int, embedder: int, after: int) -> Rows:
    cursor.execute(
        "SELECT id, entry_id, vector FROM search_passage "
        "WHERE space_id = %s AND embedder_id = %s AND id > %s ORDER BY id LIMIT %s",
        [space, embedder, after, CHUNK],
    )
    ids, entries, packed = tuple(zip(*cursor.fetchall(), strict=True)) or ((), (), ())
    vectors = np.frombuffer(b"".join(packed), "<f2").reshape(len(ids), -1 if ids else 0)
    return Rows(np.array(ids, "i8"), np.array(entries, "i8"), vectors)


def _has_column(cursor: Any, table: str, column: str) -> bool:
    cursor.execute("SELECT 1 FROM pragma_table_info(%s) WHERE name = %s", [table, column])
    return cursor.fetchone() is not None


def _leftover() -> int:
    """Return the state of what deleted terms left in the full text; 0 when that is nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM search_leftover")
        row = cursor.fetchone()
    return row[0] if row else 0


def _changes(cursor: Any) -> int:
    cursor.execute("SELECT total_changes()")
    return int(cursor.fetchone()[0])


def _word(term: int) -> str:
    return f"{term:x}"


def _parts(values: Sequence[int]) -> Iterable[list[int]]:
    for start in range(0, len(values), MOST_VARIABLES):
        yield list(values[start : start + MOST_VARIABLES])
