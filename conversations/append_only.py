"""The triggers that make the log of looks append-only in the database itself, for migrations to run.

What is older than KEPT_DAYS may be deleted: RETENTION_LOOK_DAYS, which is a day more, since clocks differ.
SQLite loses triggers when a migration rebuilds the table: such a migration runs `protect` again at its end.
"""

from __future__ import annotations

from typing import Any

TABLE = "conversations_look"
NAME = "conversations_look_append_only"
REFUSAL = "The log of looks is append-only"
KEPT_DAYS = 364
COLUMNS = ("id", "created_at", "kind", "reader_id", "reader_name", "owner_id", "conversation_id")

NEW, OLD = (", ".join(f"{row}.{name}" for name in COLUMNS) for row in ("NEW", "OLD"))

POSTGRES = f"""
CREATE OR REPLACE FUNCTION {NAME}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.reason = '' AND OLD.owner_id IS NOT NULL
        AND ({NEW}) IS NOT DISTINCT FROM ({OLD})
        AND NOT EXISTS (SELECT 1 FROM accounts_user WHERE id = OLD.owner_id)
    THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.created_at < now() - interval '{KEPT_DAYS} days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '{REFUSAL}';
END $$;
DROP TRIGGER IF EXISTS {NAME} ON {TABLE};
CREATE TRIGGER {NAME} BEFORE UPDATE OR DELETE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION {NAME}();
"""  # noqa: S608  constants of this file
SQLITE = (
    f"DROP TRIGGER IF EXISTS {NAME}_delete",
    f"""CREATE TRIGGER {NAME}_delete BEFORE DELETE ON {TABLE}
    WHEN OLD.created_at >= datetime('now', '-{KEPT_DAYS} days')
    BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END""",
    f"DROP TRIGGER IF EXISTS {NAME}_update",
    f"""CREATE TRIGGER {NAME}_update BEFORE UPDATE ON {TABLE}
    WHEN NOT (NEW.reason = '' AND OLD.owner_id IS NOT NULL
        AND ({NEW}) IS ({OLD})
        AND NOT EXISTS (SELECT 1 FROM accounts_user WHERE id = OLD.owner_id))
    BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END""",  # noqa: S608
)


def protect(apps: Any, schema_editor: Any) -> None:
    """Let the database refuse to change or delete what the log says."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRES)
        return
    for statement in SQLITE:
        schema_editor.execute(statement)


def unprotect(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {NAME} ON {TABLE}; DROP FUNCTION IF EXISTS {NAME}();")
        return
    for what in ("delete", "update"):
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {NAME}_{what}")
