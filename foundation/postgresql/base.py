"""Keeps the session's settings, above all the time limits, in force behind PgBouncer.

PostgreSQL takes them when the connection starts (`session_settings` in the OPTIONS). PgBouncer refuses or drops them,
and in transaction mode gives each transaction any free connection. Behind it, therefore, every transaction begins with
the settings, and a statement outside of a transaction gets one of its own. The first connection of a process finds out
whether there is a pooler, so nothing has to be configured. docs/pgbouncer.md gives the reasons and the cost.
"""

from __future__ import annotations

import re
import threading
import types
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from django.db import transaction
from django.db.backends.postgresql import base
from psycopg import OperationalError, sql
from psycopg.pq import TransactionStatus

from foundation.postgresql.connection import Connection
from foundation.postgresql.prepared import PREPARED_AFTER, PreparedCursor

REFUSED = "unsupported startup parameter"
# Statements that PostgreSQL refuses within a transaction.
ALONE = re.compile(
    r"\s*(VACUUM|REINDEX|(CREATE|DROP)\s+DATABASE|(CREATE|CREATE\s+UNIQUE|DROP)\s+INDEX\s+CONCURRENTLY)\b",
    re.IGNORECASE,
)
# Tells whether the connection's own settings arrived: the server knows each setting's source.
ARRIVED = "SELECT count(*) FROM pg_settings WHERE name = ANY(%s) AND source = 'client'"

# For the server's side of the connection, as the client's has them: when a client's machine has died, the locks of its
# transaction are free after 8 s, not after two hours. Behind a pooler, they would be those of the pooler's connection.
KEEPALIVES = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "3"}

# For this long the pool tries to replace a connection, with growing pauses; after that only on request.
RECONNECT_SECONDS = 5

_through_pooler: dict[str, bool] = {}
_first_connection = threading.Lock()


class DatabaseWrapper(base.DatabaseWrapper):
    # What Django connects with if it does not use its pool. Django only looks names up, so this need not be a module.
    Database = types.SimpleNamespace(**{**vars(psycopg), "connect": Connection.connect})  # type: ignore[assignment]
    _overridden: dict[str, str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._overridden = {}
        pool = self.settings_dict["OPTIONS"].get("pool")
        if isinstance(pool, dict):
            pool.setdefault("connection_class", Connection)
            pool.setdefault("reconnect_timeout", RECONNECT_SECONDS)

    @property
    def session_settings(self) -> Mapping[str, str]:
        """The settings for each transaction of this connection."""
        return {**self.settings_dict["OPTIONS"].get("session_settings", {}), **self._overridden}

    @property
    def is_through_pooler(self) -> bool:
        """Whether a pooler assigns connections to transactions; False until the first connection was made."""
        return _through_pooler.get(self.alias, False)

    def override_setting(self, name: str, value: str | None) -> None:
        """Set one of the session's settings until this connection is closed; None restores the default."""
        self.ensure_connection()
        if self._overridden.get(name) == value:
            return
        if value is None:
            del self._overridden[name]
        else:
            self._overridden[name] = value
        if not self.is_through_pooler:
            statement = sql.SQL("RESET {}") if value is None else sql.SQL("SET {} = {}")
            parts = [sql.Identifier(name), *([] if value is None else [sql.Literal(value)])]
            with self.cursor() as cursor:
                cursor.execute(statement.format(*parts))

    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        settings = params.pop("session_settings", {})
        params["options"] = " ".join(
            f"-c {name}={_escaped(value)}" for name, value in {**KEEPALIVES, **settings}.items()
        )
        if not settings:
            return params
        with _first_connection:
            if self.alias not in _through_pooler:
                _through_pooler[self.alias] = self._find_pooler(params, settings)
        if self.is_through_pooler:
            params["options"] = ""
            if self._with_session_settings not in self.execute_wrappers:
                self.execute_wrappers.insert(0, self._with_session_settings)
        return params

    def _close(self) -> None:
        """Give the connection back to the pool, unless its settings are not those that the next user expects."""
        if self._overridden and self.connection is not None:
            self.connection.pgconn.finish()
        self._overridden.clear()
        super()._close()  # type: ignore[misc]  # Django's own

    def chunked_cursor(self) -> Any:
        """Return a server-side cursor; behind a pooler, which cannot keep one between transactions, a plain cursor."""
        self.ensure_connection()
        return self.cursor() if self.is_through_pooler else super().chunked_cursor()

    def prepared_cursor(self) -> Any:
        """Return a cursor whose repeated statements the server parses and plans once for this connection.

        Behind a pooler, which may run the next transaction on another connection, a plain cursor.
        """
        self.ensure_connection()
        if self.is_through_pooler:
            return self.cursor()
        self.connection.prepare_threshold = PREPARED_AFTER
        cursor: Any = PreparedCursor(self.connection)
        return self._prepare_cursor(cursor)  # type: ignore[attr-defined]  # Django's own, for `cursor`

    def _find_pooler(self, params: dict[str, Any], settings: Mapping[str, str]) -> bool:
        """Connect once without the pool, to see errors immediately, and to find out whether the settings arrive."""
        with self.wrap_database_errors:
            try:
                with self.Database.connect(**params, autocommit=True) as connection:
                    [arrived] = connection.execute(ARRIVED, [list(settings)]).fetchone()
                    return not arrived
            except OperationalError as error:
                if REFUSED in str(error):
                    return True
                raise

    def _with_session_settings(
        self, execute: Callable[..., Any], statement: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Run a statement; if it begins a transaction, apply the session's settings first."""
        if self.connection.info.transaction_status != TransactionStatus.IDLE:
            return execute(statement, params, many, context)
        if self.get_autocommit():
            if isinstance(statement, str) and ALONE.match(statement):
                return execute(statement, params, many, context)
            with transaction.atomic(using=self.alias):
                self._apply_session_settings()
                return execute(statement, params, many, context)
        self._apply_session_settings()
        return execute(statement, params, many, context)

    def _apply_session_settings(self) -> None:
        settings = self.session_settings
        calls = ", ".join(["set_config(%s, %s, true)"] * len(settings))
        values = [text for setting in settings.items() for text in setting]
        with self.wrap_database_errors:
            self.connection.execute(f"SELECT {calls}", values)


def _escaped(value: str) -> str:
    return re.sub(r"([\\\s])", r"\\\1", value)
