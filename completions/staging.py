"""Temporary tables in which a long history waits to be accepted; only the connection that made them sees them.

Most of the cost of inserting a message comes from its indexes, triggers and foreign keys, and everybody's tokens would
wait for thousands of such inserts. So the rows of a long history, messages and their parts, are first written in slices
to temporary tables. No lock is held for this, and a process that dies leaves nothing behind. The accept transaction
then moves the rows with one statement per table, and inserts the answer's placeholder, the run and the key.

On SQLite everything happens in the journal's thread, one slice between two group commits: a second writer would have to
wait for the file's single lock. On PostgreSQL it is one transaction of another connection, so nobody waits, and a
connection pooler may give that connection to others afterwards.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection

from completions.bulk_sql import Insert, column, table
from foundation.row_sql import key

MESSAGES, PARTS = "staged_message", "staged_part"


class Row(NamedTuple):
    """The parameters of a message's INSERT, and those of its parts' INSERTs."""

    message: list[Any]
    parts: list[list[Any]]


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the staged messages go, beginning with number `first` (counted in their request)."""

    first: int
    conversation_id: uuid.UUID
    parent_id: uuid.UUID | None
    position: int
    created_at: dt.datetime


def create(cursor: Any, messages: Insert, parts: Insert) -> None:
    """Create empty tables with the columns of the INSERTs; `position` is a message's place in the request."""
    for name, insert in ((MESSAGES, messages), (PARTS, parts)):
        rows = f"SELECT {insert.columns} FROM {table(insert.model)} WHERE false"  # noqa: S608
        if connection.vendor == "postgresql":
            cursor.execute(f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS {rows}")
        else:
            cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} AS {rows}")
            cursor.execute(f"DELETE FROM {name}")  # noqa: S608  what an earlier call left


def write(cursor: Any, messages: Insert, parts: Insert, rows: Sequence[Row]) -> None:
    """Add rows of parameters to the tables."""
    _write(cursor, messages, MESSAGES, [row.message for row in rows])
    _write(cursor, parts, PARTS, [part for row in rows for part in row.parts])


def _write(cursor: Any, insert: Insert, name: str, rows: Sequence[list[Any]]) -> None:
    if connection.vendor == "postgresql":  # takes a fifth of the time of single INSERTs
        with cursor.copy(f"COPY {name} ({insert.columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        insert.write(cursor, rows, into=name)


def move(cursor: Any, messages: Insert, parts: Insert, to: Destination) -> None:
    """Insert the staged messages, the first under `to.parent_id`, each other under the previous one; then the parts."""
    columns = {field.name: column(field) for field in messages.fields}
    parent, position = columns["parent"], columns["position"]
    values = columns | {
        "conversation": "%s",
        "parent": f"CASE WHEN {position} = %s THEN %s ELSE {parent} END",
        "position": f"{position} + %s",
        "created_at": "%s",
    }
    cursor.execute(
        f"INSERT INTO {table(messages.model)} ({messages.columns}) SELECT {', '.join(values.values())} "  # noqa: S608
        f"FROM {MESSAGES} WHERE {position} >= %s ORDER BY {position}",
        [
            key(to.conversation_id),
            *(to.first, key(to.parent_id)),
            to.position - to.first,
            connection.ops.adapt_datetimefield_value(to.created_at),
            to.first,
        ],
    )
    cursor.execute(
        f"INSERT INTO {table(parts.model)} ({parts.columns}) SELECT {parts.columns} FROM {PARTS} "  # noqa: S608
        f"WHERE message_id IN (SELECT id FROM {MESSAGES} WHERE {position} >= %s)",
        [to.first],
    )
