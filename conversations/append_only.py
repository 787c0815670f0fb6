"""Triggers that make the access log append-only in the database itself; migrations create them.

Entries older than KEPT_DAYS may be deleted; that is a day less than RETENTION_ACCESS_LOG_DAYS allows, because clocks
differ. A migration that rebuilds the table on SQLite keeps the triggers (`foundation/sqlite/schema.py`).
"""

from __future__ import annotations

from typing import Any

REFUSAL = "The access log is append-only"
KEPT_DAYS = 364
COLUMNS = ("id", "created_at", "kind", "reader_id", "reader_name", "owner_id", "conversation_id")

NEW, OLD = (", ".join(f"{row}.{name}" for name in COLUMNS) for row in ("NEW", "OLD"))

POSTGRES = """
CREATE OR REPLACE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.reason = '' AND OLD.owner_id IS NOT NULL
        AND ({new}) IS NOT DISTINCT FROM ({old})
        AND NOT EXISTS (SELECT 1 FROM {users} WHERE id = OLD.owner_id)
    THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.created_at < now() - interval '{days} days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '{refusal}';
END $$;
DROP TRIGGER IF EXISTS {trigger} ON {log};
CREATE TRIGGER {trigger} BEFORE UPDATE OR DELETE ON {log} FOR EACH ROW EXECUTE FUNCTION {trigger}();
"""
SQLITE = (
    "DROP TRIGGER IF EXISTS {trigger}_delete",
    """CREATE TRIGGER {trigger}_delete BEFORE DELETE ON {log}
    WHEN OLD.created_at >= datetime('now', '-{days} days')
    BEGIN SELECT RAISE(ABORT, '{refusal}'); END""",
    "DROP TRIGGER IF EXISTS {trigger}_update",
    """CREATE TRIGGER {trigger}_update BEFORE UPDATE ON {log}
    WHEN NOT (NEW.reason = '' AND OLD.owner_id IS NOT NULL
        AND ({new}) IS ({old})
        AND NOT EXISTS (SELECT 1 FROM {users} WHERE id = OLD.owner_id))
    BEGIN SELECT RAISE(ABORT, '{refusal}'); END""",
)


def protect(apps: Any, schema_editor: Any) -> None:
    """Make the database refuse to change or delete entries."""
    names = _names(apps)
    for statement in [POSTGRES] if schema_editor.connection.vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement.format(**names, new=NEW, old=OLD, days=KEPT_DAYS, refusal=REFUSAL))


def unprotect(apps: Any, schema_editor: Any) -> None:
    log, trigger = (_names(apps)[name] for name in ("log", "trigger"))
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {trigger} ON {log}; DROP FUNCTION IF EXISTS {trigger}();")
        return
    for what in ("delete", "update"):
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {trigger}_{what}")


def trigger_name(table: str) -> str:
    """Return the name of the trigger on `table`; SQLite has two of them, with a suffix each."""
    return f"{table}_append_only"


def _names(apps: Any) -> dict[str, str]:
    """Return the names of the tables and the trigger. Before migration 0010 the model was called Look."""
    models = apps.all_models["conversations"]
    log = (models.get("accesslogentry") or models["look"])._meta.db_table
    return {"log": log, "users": apps.get_model("accounts", "User")._meta.db_table, "trigger": trigger_name(log)}
