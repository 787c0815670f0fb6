"""A whole database as text, to check whether a string occurs anywhere in it."""

from __future__ import annotations

from pathlib import Path

from django.db import connection


def places_of(needle: str) -> set[str]:
    """Return the tables that contain `needle`; on SQLite also the database's files, including their unused pages."""
    found = {table for table in _tables() if _is_in(table, needle)}
    if connection.vendor == "sqlite":
        file = str(connection.settings_dict["NAME"])
        for path in (Path(file), Path(f"{file}-wal")):
            if path.exists() and needle.encode() in path.read_bytes():
                found.add(path.name.removeprefix(Path(file).name) or "the file")
    return found


def _tables() -> list[str]:
    return connection.introspection.table_names()


def _is_in(table: str, needle: str) -> bool:
    with connection.cursor() as cursor:
        columns = [column.name for column in connection.introspection.get_table_description(cursor, table)]
        texts = " OR ".join(f"CAST({connection.ops.quote_name(name)} AS TEXT) LIKE %s" for name in columns)
        cursor.execute(
            f"SELECT 1 FROM {connection.ops.quote_name(table)} WHERE {texts} LIMIT 1", [f"%{needle}%"] * len(columns)
        )
        return cursor.fetchone() is not None
