"""Prepared SQL for the two hot writes, generated from the models so that the two cannot diverge.

Building model instances and compiling queries costs several times as much as the statement itself, and accept and
journal run for every request and every 25 ms. Everything else uses the ORM.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from django.db import connection
from django.db.models import (
    BooleanField,
    CharField,
    DateTimeField,
    Field,
    FloatField,
    ForeignKey,
    IntegerField,
    JSONField,
    Model,
    TextField,
    UUIDField,
)

from accounts.models import User
from foundation.row_sql import key

MAX_ROWS = 64
# Selects the accounts whose limits are counted together. Takes the id of the account that is responsible for them,
# twice.
SHARING_LIMITS = f"SELECT id FROM {User._meta.db_table} WHERE id = %s OR limits_owner_id = %s"  # noqa: S608


def table(model: type[Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def column(field: Field[Any, Any]) -> str:
    return connection.ops.quote_name(field.column)  # type: ignore[arg-type]  # only many-to-many fields have none


def preparer(field: Field[Any, Any]) -> Callable[[Any], Any]:
    """Return the function that prepares a value of `field` for this database: Django's own, or a faster equivalent.

    The drivers take text, numbers and booleans as they are; ids, times and JSON must be converted.
    """
    if isinstance(field, (ForeignKey, UUIDField)):
        return _id_preparer(field)
    if isinstance(field, (CharField, TextField, IntegerField, FloatField, BooleanField)):
        return _as_it_is
    if isinstance(field, JSONField):
        adapt = connection.ops.adapt_json_value
        return lambda value: None if value is None else adapt(value, None)
    if isinstance(field, DateTimeField):  # cached: the rows of a batch share one, and converting it is slow
        return functools.lru_cache(maxsize=8)(lambda value: field.get_db_prep_save(value, connection))
    return lambda value: None if value is None else field.get_db_prep_save(value, connection)


def _as_it_is(value: Any) -> Any:
    return value


def _id_preparer(field: Field[Any, Any]) -> Callable[[Any], Any]:
    target = field.target_field if isinstance(field, ForeignKey) else field
    return key if isinstance(target, UUIDField) else _as_it_is


def _fields(model: type[Model], names: Sequence[str]) -> list[Field[Any, Any]]:
    return [model._meta.get_field(name) for name in names]  # type: ignore[misc]  # no relation from elsewhere is named


class Insert:
    """`INSERT` of the named fields of a model; the others get the model's defaults, as literals in the SQL."""

    def __init__(self, model: type[Model], *names: str) -> None:
        self.model = model
        self.names = names

    @cached_property
    def fields(self) -> list[Field[Any, Any]]:
        return _fields(self.model, self.names)

    @cached_property
    def columns(self) -> str:
        return ", ".join(map(column, self.fields))

    @functools.cache  # noqa: B019  the statements are made once, at import
    def sql(self, rows: int, into: str = "") -> str:
        marks = ", ".join([f"({', '.join(['%s'] * len(self.fields))})"] * rows)
        return f"INSERT INTO {into or table(self.model)} ({self.columns}) VALUES {marks}"  # noqa: S608

    @cached_property
    def _preparers(self) -> list[Callable[[Any], Any]]:
        return [preparer(field) for field in self.fields]

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        return {field.name: field.get_default() for field in self.fields}

    def row(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the parameters of one row; a name that is not in `values` takes its default."""
        defaults = self._defaults
        return [
            prepare(values[name] if name in values else defaults[name])
            for name, prepare in zip(self.names, self._preparers, strict=True)
        ]

    def execute(self, cursor: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        self.write(cursor, [self.row(row) for row in rows])

    def write(self, cursor: Any, rows: Sequence[list[Any]], into: str = "") -> None:
        """Insert rows of parameters in few statements: each costs a hand-over of the interpreter lock, or a round trip.

        The number of rows per statement is a power of two, so that the driver sees few different statements, each of
        them often. `into` names another table with the same columns.
        """
        start = 0
        while start < len(rows):
            size = min(MAX_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
            cursor.execute(self.sql(size, into), [value for row in rows[start : start + size] for value in row])
            start += size


class Update:
    """`UPDATE` of the named fields of one row by primary key, under an extra condition."""

    def __init__(self, model: type[Model], *names: str, condition: str = "") -> None:
        self.model = model
        self.names = names
        self.condition = condition

    @cached_property
    def fields(self) -> list[Field[Any, Any]]:
        return _fields(self.model, self.names)

    @cached_property
    def sql(self) -> str:
        settings = ", ".join(f"{column(field)} = %s" for field in self.fields)
        condition = f" AND {self.condition}" if self.condition else ""
        return f'UPDATE {table(self.model)} SET {settings} WHERE "id" = %s{condition}'  # noqa: S608

    @cached_property
    def _preparers(self) -> list[Callable[[Any], Any]]:
        return [preparer(field) for field in self.fields]

    def execute(self, cursor: Any, pk: Any, values: Mapping[str, Any], *extra: Any) -> bool:
        """Execute and tell whether the row existed; `extra` are the condition's parameters."""
        cursor.execute(self.sql, self._parameters(pk, values, extra))
        changed: bool = cursor.rowcount == 1
        return changed

    def execute_many(self, cursor: Any, rows: Sequence[tuple[Any, Mapping[str, Any]]], *extra: Any) -> None:
        """Update several rows, given as (primary key, values), without a round trip for each."""
        if rows:
            cursor.executemany(self.sql, [self._parameters(pk, values, extra) for pk, values in rows])

    def _parameters(self, pk: Any, values: Mapping[str, Any], extra: tuple[Any, ...]) -> list[Any]:
        prepared = [prepare(values[name]) for name, prepare in zip(self.names, self._preparers, strict=True)]
        return [*prepared, key(pk), *extra]


@contextmanager
def pipelined() -> Iterator[None]:
    """Send the block's statements without waiting for each result, where the driver can do so.

    Errors that arrive only at its end are Django's, as those of cursors are.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with connection.wrap_database_errors, connection.connection.pipeline():
        yield
