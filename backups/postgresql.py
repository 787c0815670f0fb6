"""PostgreSQL's backup: pg_dump of the server's own version, with a snapshot in which rows are counted, too."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from django.db import connection
from psycopg import sql

from backups.exceptions import BackupError
from backups.postgresql_tools import find_tool, run_tool
from backups.snapshots import Report, differences

# No owners and rights: the role that restores owns everything. No comments: only a superuser may comment on extensions.
DUMP = ["--format=custom", "--no-owner", "--no-privileges", "--no-comments"]
RESTORE = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges"]
# The service limits how long its own statements and transactions take; these may take as long as the database is large.
UNLIMITED: tuple[LiteralString, ...] = (
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
)
NOT_OF_EXTENSIONS: LiteralString = "NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = each.oid AND deptype = 'e')"
TABLES: LiteralString = (
    "FROM pg_class each WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND " + NOT_OF_EXTENSIONS
)
NAMES: LiteralString = "SELECT relname " + TABLES
FUNCTIONS: LiteralString = (
    "SELECT oid::regprocedure::text FROM pg_proc each WHERE pronamespace = current_schema()::regnamespace AND "
    + NOT_OF_EXTENSIONS
)
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' "
OTHERS += "AND pid <> pg_backend_pid()"


class PostgreSQLSnapshot:
    """A read-only transaction, whose snapshot pg_dump takes over."""

    def __init__(self, server: psycopg.Connection[Any]) -> None:
        self._server = server
        self.major = server.info.server_version // 10_000
        self.server = f"PostgreSQL {server.info.parameter_status('server_version')}"
        [self._id, self.taken_at] = self._row("SELECT pg_export_snapshot(), clock_timestamp()")
        self.taken_at = self.taken_at.astimezone(dt.UTC)

    def _row(self, statement: LiteralString) -> Any:
        return self._server.execute(statement).fetchone()

    def size(self) -> int:
        [size] = self._row("SELECT coalesce(sum(pg_table_size(oid)), 0)::bigint " + TABLES)
        return int(size)

    def tables(self) -> dict[str, int]:
        return _tables(self._server)

    def migrations(self) -> list[str]:
        rows = self._server.execute("SELECT app, name FROM django_migrations ORDER BY id")
        return [f"{app}.{name}" for app, name in rows]

    def contents(self) -> Iterator[tuple[str, str, int]]:
        with self._server.cursor(name="contents") as cursor:
            cursor.execute("SELECT DISTINCT owner_id, sha256, size FROM files_file ORDER BY 1, 2")
            for owner_id, sha256, size in cursor:
                yield owner_id.hex, sha256, size

    def write_to(self, path: Path, report: Report) -> None:
        arguments = [*DUMP, f"--snapshot={self._id}", f"--file={path}"]

        def poll() -> None:
            if path.exists():
                report(path.stat().st_size)

        run_tool(find_tool("pg_dump", self.major), arguments, _address(), poll=poll)


class PostgreSQL:
    copy_name = "database.dump"

    @contextmanager
    def snapshot(self) -> Iterator[PostgreSQLSnapshot]:
        with _connected() as server:
            find_tool("pg_dump", server.info.server_version // 10_000)
            server.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            server.read_only = True
            for statement in UNLIMITED:
                server.execute(statement)
            yield PostgreSQLSnapshot(server)

    def check(self, path: Path, expected: dict[str, int]) -> list[str]:
        """Restore the dump into a database that is deleted afterwards, if this role may create one."""
        if connection.vendor != "postgresql":
            return ["the rows in the dump, because DATABASE_URL is no PostgreSQL server"]
        with _connected(autocommit=True) as server:
            [may_create] = server.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone() or [False]
            tool = find_tool("pg_restore", server.info.server_version // 10_000)
            if not may_create:
                run_tool(tool, ["--file=/dev/null", str(path)], {})
                return ["the rows in the dump, because the role of DATABASE_URL may not create a database"]
            name = f"verified_backup_{uuid.uuid4().hex[:12]}"
            server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
            try:
                run_tool(tool, [*RESTORE, str(path)], {**_address(), "dbname": name})
                with _connected(dbname=name) as copy:
                    copy.execute(UNLIMITED[0])
                    different = differences(expected, _tables(copy))
            finally:
                server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        if different:
            raise BackupError(f"{path} is not what was dumped: {different}.")
        return []

    def is_empty(self) -> bool:
        with _connected() as server:
            return not server.execute(NAMES).fetchall()

    def restore(self, path: Path, *, clean: bool) -> None:
        connection.close()
        with _connected() as server:
            tool = find_tool("pg_restore", server.info.server_version // 10_000)
            if clean:
                _empty(server)
        run_tool(tool, [*RESTORE, str(path)], _address())

    def tables(self) -> dict[str, int]:
        with _connected() as server:
            server.execute(UNLIMITED[0])
            return _tables(server)


def _empty(server: psycopg.Connection[Any]) -> None:
    """Drop all tables and functions, all or none. Extensions stay: creating them may need a superuser."""
    [others] = server.execute(OTHERS).fetchone() or [0]
    if others:
        raise BackupError("The database is in use: stop all processes of the service first.")
    for statement in UNLIMITED:
        server.execute(statement)
    for [name] in server.execute(NAMES).fetchall():
        server.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(name)))
    for [signature] in server.execute(FUNCTIONS).fetchall():
        server.execute(sql.SQL("DROP FUNCTION IF EXISTS {} CASCADE").format(sql.SQL(signature)))


def _tables(server: psycopg.Connection[Any]) -> dict[str, int]:
    names = sorted(row[0] for row in server.execute(NAMES))
    counts = (server.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))) for name in names)
    return {name: (count.fetchone() or [0])[0] for name, count in zip(names, counts, strict=True)}


@contextlib.contextmanager
def _connected(*, autocommit: bool = False, dbname: str | None = None) -> Iterator[psycopg.Connection[Any]]:
    address = _address() | ({"dbname": dbname} if dbname else {})
    try:
        server = psycopg.connect(**address, autocommit=autocommit)  # type: ignore[arg-type]  # texts are libpq's own form
    except psycopg.OperationalError as error:
        raise BackupError(f"The database cannot be used: {' '.join(str(error).split())}") from error
    try:
        with server:
            yield server
    except psycopg.Error as error:
        raise BackupError(f"The database refused: {error.diag.message_primary or type(error).__name__}.") from error


def _address() -> dict[str, str]:
    """Return where the service's database is, by libpq's names."""
    config = connection.settings_dict
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    address = {name: str(config[key]) for name, key in names.items() if config[key]}
    others = {name: value for name, value in config["OPTIONS"].items() if name not in ("pool", "session_settings")}
    return {**{name: str(value) for name, value in others.items()}, **address}
