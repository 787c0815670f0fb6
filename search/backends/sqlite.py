"""The index on SQLite: terms in FTS5, vectors as packed float16, scanned in memory, a partition at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from django.db import connection, transaction

from search.backends.base import ENDING, NewEntry, NewPassage, OriginRow, as_rows
from search.backends.sqlite_schema import COVERING, LEFT, MERGING, create_triggers, triggers
from search.backends.vector_cache import READ_ROWS, CachedVectors, PassageRows, VectorCache, cosines_of
from search.models import PARTITION_SHIFT
from search.tables import TABLES

MAX_VARIABLES = 900
MERGE_PAGES = 64  # pages of the full-text index per step: some milliseconds
SELECT_ROW = "SELECT e.id, coalesce(e.previous_1, 0), coalesce(e.previous_2, 0), e.length"
# The covering index by name, because SQLite would choose the unique one.
SELECT_BY_ID = f"{SELECT_ROW} FROM {TABLES.entry} e INDEXED BY {COVERING} WHERE e.id"
AROUND = "WITH known (entry) AS MATERIALIZED (SELECT value FROM json_each(%s)) " + " UNION ALL ".join(
    f"{SELECT_ROW} FROM known CROSS JOIN {TABLES.entry} e INDEXED BY {index} ON e.{column} = known.entry"
    for column, index in (
        ("id", COVERING),
        ("previous_1", "search_entry_previous_1"),
        ("previous_2", "search_entry_previous_2"),
    )
)
ORIGINS = (
    "SELECT e.id, e.length, m.id, m.conversation_id, CASE m.author WHEN '' THEN m.role ELSE m.author END, "
    f"substr(m.content, -{ENDING}) FROM json_each(%s) known CROSS JOIN {TABLES.entry} e ON e.id = known.value "
    f"JOIN {TABLES.message} m ON m.id = e.message_id"
)
# An entry that stays as it is costs no write.
CHANGED = "(*.message_id, *.previous_1, *.previous_2, *.length, *.terms)"
INSERT_ENTRY = (
    f"INSERT INTO {TABLES.entry} (id, message_id, previous_1, previous_2, length, terms) VALUES {{}} "
    "ON CONFLICT (id) DO UPDATE SET message_id = excluded.message_id, previous_1 = excluded.previous_1, "
    "previous_2 = excluded.previous_2, length = excluded.length, terms = excluded.terms "
    f"WHERE {CHANGED.replace('*', TABLES.entry)} IS NOT {CHANGED.replace('*', 'excluded')}"
)


class SqliteBackend:
    def __init__(self) -> None:
        self._cache = VectorCache(_read)

    def install(self) -> bool:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            missing = triggers(TABLES).keys() - {name for (name,) in cursor.fetchall()}
            if missing:
                create_triggers(connection, TABLES)
        return bool(missing)

    def has_vectors(self) -> bool:
        return True

    def fit(self, dimensions: int) -> None:
        """Do nothing: a blob has no fixed length."""

    def compact(self, *, begin: bool) -> bool:
        wanted = (LEFT, MERGING) if begin else (MERGING,)
        if _leftover() not in wanted:  # checked first without the write lock that the transaction takes
            return False
        with transaction.atomic(), connection.cursor() as cursor:
            state = _leftover()
            if state not in wanted:
                return False
            # A negative number of pages begins a merge of everything; see "Special INSERT commands" of FTS5.
            pages = -MERGE_PAGES if state == LEFT else MERGE_PAGES
            changes = _changes(cursor)
            cursor.execute("INSERT INTO search_text (search_text, rank) VALUES ('merge', %s)", [pages])
            if state == MERGING and _changes(cursor) - changes < 2:
                cursor.execute("DELETE FROM search_leftover")
            else:
                cursor.execute("UPDATE search_leftover SET state = %s", [MERGING])
        return True

    def write_entries(self, entries: Sequence[NewEntry]) -> None:
        # One statement for all rows: each statement releases the interpreter lock while all other writers wait.
        values: list[Any] = []
        for e in entries:
            values += (e.id, e.message_id.hex, e.previous_1, e.previous_2, e.length, " ".join(map(_word, e.terms)))
        with connection.cursor() as cursor:
            cursor.execute(INSERT_ENTRY.format(", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(entries))), values)

    def postings(self, terms: Sequence[Sequence[int]]) -> list[np.ndarray]:
        found = []
        with connection.cursor() as cursor:
            for alternatives in terms:
                rows: list[tuple[Any, ...]] = []
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

    def origins(self, ids: Sequence[int]) -> list[OriginRow]:
        with connection.cursor() as cursor:
            cursor.execute(ORIGINS, [json.dumps(list(ids))])
            rows: list[OriginRow] = cursor.fetchall()
        return rows

    def write_passages(self, passages: Sequence[NewPassage]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                f'INSERT INTO {TABLES.passage} (entry_id, partition_id, embedder_id, start, "end", vector) '
                "VALUES (%s, %s, %s, %s, %s, %s)",
                [
                    (p.entry_id, p.partition_id, p.embedder_id, p.start, p.end, p.vector.astype("<f2").tobytes())
                    for p in passages
                ],
            )

    def nearest(
        self,
        partitions: Sequence[int] | None,
        embedder_id: int,
        vector: np.ndarray,
        count: int,
        allowed: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        best: list[tuple[np.ndarray, np.ndarray]] = []
        for inside, vectors in self._load(partitions, embedder_id, vector.size, allowed):
            nearest = vectors.nearest(vector, count, inside)
            best.append((nearest.entries, nearest.cosines))
        if len(best) == 1:
            return best[0]
        ids = np.concatenate([each[0] for each in best] or [np.zeros(0, "i8")])
        cosines = np.concatenate([each[1] for each in best] or [np.zeros(0, "f4")])
        order = np.lexsort((ids, -cosines))[:count]
        return ids[order], cosines[order]

    def similarities(
        self, partitions: Sequence[int] | None, embedder_id: int, vector: np.ndarray, ids: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT entry_id, vector, start FROM {TABLES.passage} "
                "WHERE embedder_id = %s AND entry_id IN (SELECT value FROM json_each(%s))",
                [embedder_id, json.dumps(list(ids))],
            )
            rows = cursor.fetchall()
        if not rows:
            return np.zeros(0, "i8"), np.zeros(0, "f4"), np.zeros(0, "i8")
        matrix = np.frombuffer(b"".join(row[1] for row in rows), "<f2").reshape(len(rows), -1)
        entries, _, starts = zip(*rows, strict=True)
        return np.array(entries, "i8"), cosines_of(matrix, vector), np.array(starts, "i8")

    def _load(
        self, partitions: Sequence[int] | None, embedder_id: int, dimensions: int, allowed: np.ndarray | None
    ) -> Iterable[tuple[np.ndarray | None, CachedVectors]]:
        """Yield for each partition the sorted ids that are `allowed` in it, if they are given, and its vectors."""
        with connection.cursor() as cursor:
            if partitions is None:
                cursor.execute(f"SELECT id FROM {TABLES.partition} ORDER BY id")
                partitions = [row[0] for row in cursor.fetchall()]
            for partition in partitions:
                inside = allowed
                if allowed is not None and len(partitions) > 1:
                    ends = np.array([partition, partition + 1]) << PARTITION_SHIFT
                    inside = allowed[slice(*np.searchsorted(allowed, ends))]
                    if not len(inside):
                        continue
                yield inside, self._cache.load(cursor, partition, embedder_id, dimensions)


def _read(cursor: Any, partition: int, embedder: int, after: int) -> PassageRows:
    cursor.execute(
        f"SELECT id, entry_id, vector FROM {TABLES.passage} "
        "WHERE partition_id = %s AND embedder_id = %s AND id > %s ORDER BY id LIMIT %s",
        [partition, embedder, after, READ_ROWS],
    )
    ids, entries, packed = tuple(zip(*cursor.fetchall(), strict=True)) or ((), (), ())
    vectors = np.frombuffer(b"".join(packed), "<f2").reshape(len(ids), -1 if ids else 0)
    return PassageRows(np.array(ids, "i8"), np.array(entries, "i8"), vectors)


def _leftover() -> int:
    """Return whether deleted terms left something in the full-text index: LEFT or MERGING, or 0 for nothing."""
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
    for start in range(0, len(values), MAX_VARIABLES):
        yield list(values[start : start + MAX_VARIABLES])
