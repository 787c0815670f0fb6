"""Keeps triggers and indexes that no model declares when Django rebuilds a table to alter a column."""

from __future__ import annotations

from typing import Any

from django.db.backends.sqlite3 import schema


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    def _remake_table(self, model: Any, *arguments: Any, **changes: Any) -> None:
        """Rebuild a table with its triggers and the indexes that were created by SQL.

        SQLite drops them with the old table. It also refuses to rename the new table while any trigger names the old
        one.
        """
        statements = self._model_indexes_sql(model)  # type: ignore[attr-defined]  # private
        of_models = {str(statement.parts["name"]) for statement in statements}
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = cursor.fetchall()
            indexes = self._indexes(cursor, model)
        for name, _ in triggers:
            self.execute(f"DROP TRIGGER {self.quote_name(name)}", None)
        super()._remake_table(model, *arguments, **changes)  # type: ignore[misc]  # private
        with self.connection.cursor() as cursor:
            there = self._indexes(cursor, model)
        lost = [sql for name, sql in indexes.items() if name not in there and self.quote_name(name) not in of_models]
        for sql in [*lost, *(sql for _, sql in triggers)]:
            self.execute(sql, None)

    def _indexes(self, cursor: Any, model: Any) -> dict[str, str]:
        """Return the SQL of each index of the model's table that was created by a statement."""
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = %s AND sql IS NOT NULL",
            [model._meta.db_table],
        )
        return dict(cursor.fetchall())
