"""Columns whose types differ between the databases. Only the back ends' own statements read and write them.

These are our own fields, since no field of Django or pgvector has a type on both databases.
"""

from __future__ import annotations

from typing import Any

from django.db import models


class TermsField(models.Field):  # type: ignore[type-arg]  # not subscriptable at run time
    """The terms of an entry: an array for a GIN index on PostgreSQL, words for FTS5 on SQLite."""

    def db_type(self, connection: Any) -> str:
        return "bigint[]" if connection.vendor == "postgresql" else "text"


class VectorField(models.Field):  # type: ignore[type-arg]  # not subscriptable at run time
    """A vector in half precision, of any number of dimensions: pgvector's type on PostgreSQL, packed on SQLite.

    Without pgvector PostgreSQL has no such type, and the table lacks the column: search is by words alone. So the
    migration adds the column only if it can, and the model's queries omit it.
    """

    def db_type(self, connection: Any) -> str:
        return "halfvec" if connection.vendor == "postgresql" else "blob"
