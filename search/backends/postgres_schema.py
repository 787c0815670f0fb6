"""What the index has on PostgreSQL besides the columns of its models: triggers, indexes, and pgvector's column.

The triggers note pending work, and delete a message's index rows with the message, in the transaction that writes,
whether the service, a shell or plain SQL runs it.
"""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError, transaction

from foundation.database import BY_INDEX
from search.fields import VectorField
from search.tables import Tables

# One of two indexes, because too wide vectors cannot be included in one. Both end with the id, so that a process reads
# new passages from the end of a range.
COVERING = (
    "CREATE INDEX IF NOT EXISTS search_passage_covering ON {} (partition_id, embedder_id, id) "
    "INCLUDE (entry_id, vector)"
)
PLAIN = "CREATE INDEX IF NOT EXISTS search_passage_plain ON {} (partition_id, embedder_id, id)"
FORMER = {"search_passage_vector": COVERING, "search_passage_space": PLAIN}  # which of today's indexes replaced each


def create(connection: Any, tables: Tables) -> None:
    """Create the indexes and triggers, and replace those that earlier versions made."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE INDEX IF NOT EXISTS search_entry_terms ON {tables.entry} USING gin (terms)")
        cursor.execute(f"ALTER TABLE {tables.entry} ALTER COLUMN terms DROP DEFAULT")
        for name, replacement in FORMER.items():
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
            if cursor.fetchone()[0]:
                cursor.execute(replacement.format(tables.passage))
                cursor.execute(f"DROP INDEX {name}")
    create_triggers(connection, tables)


def create_triggers(connection: Any, tables: Tables) -> None:
    """Recreate the triggers."""
    with connection.cursor() as cursor:
        for name, (event, body) in triggers(tables).items():
            cursor.execute(
                f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql {BY_INDEX} AS "
                f"$body$ BEGIN {body} RETURN NULL; END $body$"
            )
            cursor.execute(f"CREATE OR REPLACE TRIGGER {name} {event} EXECUTE FUNCTION {name}()")


def drop(connection: Any, tables: Tables) -> None:
    """Drop the triggers, so that messages are writable without the index's tables."""
    with connection.cursor() as cursor:
        for name in triggers(tables):
            cursor.execute(f"DROP FUNCTION IF EXISTS {name} CASCADE")


def has_vectors(connection: Any, tables: Tables) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'vector' AND NOT attisdropped",
            [tables.passage],
        )
        return cursor.fetchone() is not None


def add_vectors(connection: Any, tables: Tables) -> bool:
    """Add the vectors' column with its index if it is missing; returns False if pgvector is not available."""
    if has_vectors(connection, tables):
        return True
    try:
        with transaction.atomic(connection.alias), connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
            column = VectorField().db_type(connection)
            cursor.execute(f"ALTER TABLE {tables.passage} ADD COLUMN vector {column} NOT NULL")
            cursor.execute(COVERING.format(tables.passage))
    except DatabaseError:
        return False
    return True


def triggers(tables: Tables) -> dict[str, tuple[str, str]]:
    """Return the event and the body of each trigger by its name."""
    _, entry, passage, pending, message, conversation, *_ = tables
    says_anything = "(message.content <> '' OR message.has_parts)" if tables.file_text else "message.content <> ''"
    insert = f"INSERT INTO {pending} (message_id, owner_id, stage, version, claimed_until)"
    conflict = f"ON CONFLICT (message_id) DO UPDATE SET stage = 0, version = {pending}.version + 1, claimed_until = 0"
    return {
        "search_messages_added": (
            f"AFTER INSERT ON {message} REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT",
            f"{insert} SELECT id, owner_id, 0, 0, 0 FROM ("
            f"SELECT id, (SELECT owner_id FROM {conversation} WHERE id = fresh.conversation_id) AS owner_id "
            f"FROM fresh WHERE content <> '' OFFSET 0) owned WHERE owner_id IS NOT NULL {conflict};",
        ),
        # Also notes the two turns after it, which were embedded with it and are linked to it.
        "search_message_changed": (
            f"AFTER UPDATE OF content, author, parent_id, conversation_id, created_at ON {message} FOR EACH ROW "
            "WHEN ((OLD.content, OLD.author, OLD.parent_id, OLD.conversation_id, OLD.created_at) IS DISTINCT FROM "
            "(NEW.content, NEW.author, NEW.parent_id, NEW.conversation_id, NEW.created_at))",
            f"{insert} SELECT changed.id, conversation.owner_id, 0, 0, 0 FROM ("
            f"SELECT NEW.id UNION SELECT child.id FROM {message} child WHERE child.parent_id = NEW.id "
            # Arrays instead of joins, here and below. If a table was empty when it was last analysed, the planner
            # expects one row and may use any index: a join would then read every message once for each message.
            f"UNION SELECT grandchild.id FROM {message} grandchild WHERE grandchild.parent_id = ANY (ARRAY("
            f"SELECT child.id FROM {message} child WHERE child.parent_id = NEW.id))"
            f") changed (id) JOIN {conversation} conversation ON conversation.id = NEW.conversation_id "
            f"ORDER BY 1 {conflict};",
        ),
        "search_messages_gone": (
            f"AFTER DELETE ON {message} REFERENCING OLD TABLE AS gone FOR EACH STATEMENT",
            f"DELETE FROM {pending} WHERE message_id = ANY (ARRAY(SELECT id FROM gone)); "
            f"DELETE FROM {passage} WHERE entry_id = ANY (ARRAY("
            f"SELECT id FROM {entry} WHERE message_id = ANY (ARRAY(SELECT id FROM gone)))); "
            f"DELETE FROM {entry} WHERE message_id = ANY (ARRAY(SELECT id FROM gone));",
        ),
        # A new owner affects every message; a new title affects those with fewer than two turns before them.
        "search_conversation_changed": (
            f"AFTER UPDATE OF title, owner_id ON {conversation} FOR EACH ROW "
            "WHEN ((OLD.title, OLD.owner_id) IS DISTINCT FROM (NEW.title, NEW.owner_id))",
            f"{insert} SELECT message.id, NEW.owner_id, 0, 0, 0 FROM {message} message "
            f"WHERE message.conversation_id = NEW.id AND {says_anything} "
            f"AND (OLD.owner_id <> NEW.owner_id OR message.parent_id IS NULL OR message.parent_id = ANY (ARRAY("
            f"SELECT first.id FROM {message} first WHERE first.conversation_id = NEW.id AND first.parent_id IS NULL"
            f"))) ORDER BY 1 {conflict};",
        ),
        **(_file_triggers(tables, insert, conflict) if tables.file_text else {}),
    }


def _file_triggers(tables: Tables, insert: str, conflict: str) -> dict[str, tuple[str, str]]:
    """Return the triggers that note the messages which carry a file whose text came, or went."""
    carrying = f"{insert} {tables.carrying_messages()}"
    return {
        "search_file_carried": (
            f"AFTER INSERT ON {tables.part} FOR EACH ROW WHEN (NEW.file_id IS NOT NULL)",
            f"{carrying} WHERE part.id = NEW.id AND said.text <> '' {conflict};",
        ),
        "search_file_read": (
            f"AFTER UPDATE OF text ON {tables.file_text} FOR EACH ROW WHEN (OLD.text IS DISTINCT FROM NEW.text)",
            f"{carrying} WHERE said.id = NEW.id ORDER BY 1 {conflict};",
        ),
        "search_file_gone": (
            f"BEFORE DELETE ON {tables.file} FOR EACH ROW",
            f"{carrying} WHERE file.id = OLD.id AND said.text <> '' ORDER BY 1 {conflict}; RETURN OLD;",
        ),
    }
