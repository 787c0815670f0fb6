"""Prepared SQL for the two hot writes, made from the models so that it cannot drift from them.

Building model instances and compiling queries costs several times the statement itself; accept and
journal run for every request and every 25 ms. Everything else uses the ORM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from django.db import connection
from django.db.models import Field, Model


def table(model: type[Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def prepared(field: Field, value: Any) -> Any:
    """Return `value` as this database's driver wants it for `field`."""
    return field.get_db_prep_save(value, connection)


class Insert:
    """`INSERT` of the named fields of a model; the rest take the model's defaults, written out."""

    def __init__(self, model: type[Model], *names: str) -> None:
        self.model = model
        self.names = names

    @cached_property
    def fields(self) -> list[Field]:
        return [self.model._meta.get_field(name) for name in self.names]

    @cached_property
    def sql(self) -> str:
        columns = ", ".join(connection.ops.quote_name(field.column) for field in self.fields)
        marks = ", ".join(["%s"] * len(self.fields))
        return f"INSERT INTO {table(self.model)} ({columns}) VALUES ({marks})"  # noqa: S608

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        return {field.name: field.get_default() for field in self.fields}

    def row(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the parameters of one row; a name that is not in `values` takes its default."""
        defaults = self._defaults
        return [
            prepared(field, values[name] if name in values else defaults[name])
            for name, field in zip(self.names, self.fields, strict=True)
        ]

    def execute(self, cursor: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        if len(rows) == 1:
            cursor.execute(self.sql, self.row(rows[0]))
        elif rows:
            cursor.executemany(self.sql, [self.row(row) for row in rows])


class Update:
    """`UPDATE` of the named fields of one row by primary key, under an extra condition."""

    def __init__(self, model: type[Model], *names: str, condition: str = "") -> None:
        self.model = model
        self.names = names
        self.condition = condition

    @cached_property
    def fields(self) -> list[Field]:
        return [self.model._meta.get_field(name) for name in self.names]

    @cached_property
    def sql(self) -> str:
        settings = ", ".join(f"{connection.ops.quote_name(field.column)} = %s" for field in self.fields)
        condition = f" AND {self.condition}" if self.condition else ""
        return f'UPDATE {table(self.model)} SET {settings} WHERE "id" = %s{condition}'  # noqa: S608

    def execute(self, cursor: Any, pk: Any, values: Mapping[str, Any], *extra: Any) -> bool:
        """Return whether a row was there to change; `extra` are the condition's parameters."""
        parameters = [prepared(field, values[name]) for name, field in zip(self.names, self.fields, strict=True)]
        cursor.execute(self.sql, [*parameters, key(pk), *extra])
        return cursor.rowcount == 1


def key(value: Any) -> Any:
    """Return a UUID as this database's driver wants it."""
    return value if connection.features.has_native_uuid_field or value is None else value.hex


def for_update(strength: str = "UPDATE") -> str:
    """Return the row lock clause where the database has row locks; SQLite's writer is alone anyway."""
    return f" FOR {strength}" if connection.features.has_select_for_update else ""
