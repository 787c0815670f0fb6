"""The index's back ends, one per database, chosen by the vendor of the database in use."""

from __future__ import annotations

import functools

from django.db import connection

from search.backends.base import Backend


@functools.cache
def _backend(vendor: str) -> Backend:
    if vendor == "postgresql":
        from search.backends.postgres import PostgresBackend

        return PostgresBackend()
    from search.backends.sqlite import SqliteBackend

    return SqliteBackend()


def backend() -> Backend:
    """Return the back end of this service's database."""
    return _backend(connection.vendor)
