"""Migration operations that do nothing if the database already has what they create.

Such objects come from migrations that were edited later, or from code outside of migrations.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.migrations.operations import AddField, AddIndex
from django.db.migrations.operations.base import Operation


class EnsureModel(Operation):
    """Create the table of a model already in the migration state, with its indexes, if the database lacks it."""

    reduces_to_sql = False

    def __init__(self, name: str) -> None:
        self.name = name

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Change nothing: an earlier migration already has the model in its state."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.name)
        if model._meta.db_table not in schema_editor.connection.introspection.table_names():
            schema_editor.create_model(model)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Leave the table: the migration that created it elsewhere removes it."""

    def describe(self) -> str:
        return f"Create the table of {self.name} if it is missing"


class EnsureField(AddField):
    """Add a column if it is missing."""

    reduces_to_sql = False

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        meta = to_state.apps.get_model(app_label, self.model_name)._meta
        connection = schema_editor.connection
        with connection.cursor() as cursor:
            columns = connection.introspection.get_table_description(cursor, meta.db_table)
        if meta.get_field(self.name).column not in {column.name for column in columns}:
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Leave the column, because the previous version expects it too."""


class EnsureIndex(AddIndex):
    """Add an index if it is missing; replace one of the same name with other columns or another condition."""

    reduces_to_sql = False

    def state_forwards(self, app_label: str, state: Any) -> None:
        if not self._is_known(app_label, state):
            super().state_forwards(app_label, state)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        with schema_editor.connection.cursor() as cursor:
            found = schema_editor.connection.introspection.get_constraints(cursor, model._meta.db_table)
            if self.index.name in found:
                columns = [model._meta.get_field(field).column for field, _ in self.index.fields_orders]
                partial = _is_partial(cursor, self.index)
                if found[self.index.name]["columns"] == columns and partial == (self.index.condition is not None):
                    return
                schema_editor.remove_index(model, self.index)
        schema_editor.add_index(model, self.index)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if not self._is_known(app_label, to_state):
            super().database_backwards(app_label, schema_editor, from_state, to_state)

    def _is_known(self, app_label: str, state: Any) -> bool:
        indexes = state.models[app_label, self.model_name_lower].options.get("indexes", ())
        return any(index.name == self.index.name for index in indexes)


def _is_partial(cursor: Any, index: models.Index) -> bool:
    """Tell whether the database's index of this name covers only some rows."""
    if cursor.db.vendor == "postgresql":
        cursor.execute("SELECT indpred IS NOT NULL FROM pg_index WHERE indexrelid = to_regclass(%s)", [index.name])
    else:
        cursor.execute("SELECT sql LIKE '%% WHERE %%' FROM sqlite_master WHERE name = %s", [index.name])
    return bool(cursor.fetchone()[0])
