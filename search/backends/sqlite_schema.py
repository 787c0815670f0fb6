"""What the index has on SQLite besides its models' columns: a full-text index (FTS5) of terms, indexes, triggers.

Terms are written as hexadecimal words. FTS5 stores neither texts nor positions itself. When Django rebuilds a table,
`foundation/sqlite` preserves all of this.
"""

from __future__ import annotations

from typing import Any

from search.models import PARTITION_SHIFT
from search.tables import Tables

# Rows contain long terms: an index with every column that is read avoids reading the rows.
COVERING = "search_entry_row"
# Deleted terms stay in the segments of FTS5 until these are merged. One row in `search_leftover` says that some remain,
# or that a merge which removes them has begun.
LEFT, MERGING = 1, 2
LEAVE = (
    f"INSERT INTO search_leftover (id, state) VALUES (1, {LEFT}) ON CONFLICT (id) DO UPDATE SET state = excluded.state;"
)


def create(connection: Any, tables: Tables) -> None:
    """Create the indexes, the full-text index and the triggers, and replace what earlier versions made.

    Columns that those versions added keep their defaults, which nothing uses: dropping them would copy the whole table.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE INDEX IF NOT EXISTS {COVERING} ON {tables.entry} (id, previous_1, previous_2, length)")
        cursor.execute("DROP INDEX IF EXISTS search_passage_space")
        cursor.execute(
            f"CREATE INDEX IF NOT EXISTS search_passage_partition ON {tables.passage} (partition_id, embedder_id, id)"
        )
        existing = connection.introspection.table_names(cursor)
        if "search_text" not in existing:
            cursor.execute(
                f"CREATE VIRTUAL TABLE search_text USING fts5(terms, content='{tables.entry}', content_rowid='id', "
                "detail=none, columnsize=0, tokenize='ascii')"
            )
            cursor.execute("INSERT INTO search_text (search_text) VALUES ('rebuild')")
        if "search_leftover" not in existing:
            cursor.execute(
                "CREATE TABLE search_leftover (id integer PRIMARY KEY CHECK (id = 1), state integer NOT NULL)"
            )
            if "search_text" in existing:
                cursor.execute(LEAVE)  # earlier versions did not record it
    create_triggers(connection, tables)


def create_triggers(connection: Any, tables: Tables) -> None:
    """Recreate the triggers."""
    with connection.cursor() as cursor:
        for name, definition in triggers(tables).items():
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            cursor.execute(f"CREATE TRIGGER {name} {definition}")


def drop(connection: Any, tables: Tables) -> None:
    """Drop the full-text index and the triggers, so that messages are writable without the index's tables."""
    with connection.cursor() as cursor:
        for name in triggers(tables):
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
        for table in ("search_text", "search_leftover"):
            cursor.execute(f"DROP TABLE {table}")


def triggers(tables: Tables) -> dict[str, str]:
    """Return what follows the name of each trigger in the statement that creates it."""
    partition, entry, passage, pending, message, conversation, *_ = tables
    says_anything = "(message.content <> '' OR message.has_parts)" if tables.file_text else "message.content <> ''"
    insert = f"INSERT INTO {pending} (message_id, owner_id, stage, version, claimed_until)"
    conflict = "ON CONFLICT (message_id) DO UPDATE SET stage = 0, version = version + 1, claimed_until = 0"
    forget = "INSERT INTO search_text (search_text, rowid, terms) VALUES ('delete', OLD.id, OLD.terms);"
    learn = "INSERT INTO search_text (rowid, terms) VALUES (NEW.id, NEW.terms);"
    return {
        "search_entry_added": f"AFTER INSERT ON {entry} BEGIN {learn} END",
        "search_entry_changed": f"AFTER UPDATE OF terms ON {entry} BEGIN {forget} {learn} END",
        "search_entry_gone": f"AFTER DELETE ON {entry} BEGIN {forget} END",
        "search_entry_change_left": f"AFTER UPDATE OF terms ON {entry} WHEN OLD.terms <> NEW.terms BEGIN {LEAVE} END",
        "search_entry_left": f"AFTER DELETE ON {entry} BEGIN {LEAVE} END",
        "search_message_added": (
            f"AFTER INSERT ON {message} WHEN NEW.content <> '' BEGIN "
            f"{insert} SELECT NEW.id, conversation.owner_id, 0, 0, 0 FROM {conversation} conversation "
            f"WHERE conversation.id = NEW.conversation_id {conflict}; END"
        ),
        # Also notes the two turns after it, which were embedded with it and are linked to it.
        "search_message_changed": (
            f"AFTER UPDATE OF content, author, parent_id, conversation_id, created_at ON {message} "
            "WHEN OLD.content IS NOT NEW.content OR OLD.author IS NOT NEW.author OR OLD.parent_id IS NOT NEW.parent_id "
            "OR OLD.conversation_id IS NOT NEW.conversation_id OR OLD.created_at IS NOT NEW.created_at BEGIN "
            f"{insert} SELECT changed.id, conversation.owner_id, 0, 0, 0 FROM ("
            f"SELECT NEW.id AS id UNION SELECT child.id FROM {message} child WHERE child.parent_id = NEW.id "
            f"UNION SELECT grandchild.id FROM {message} child "
            f"JOIN {message} grandchild ON grandchild.parent_id = child.id WHERE child.parent_id = NEW.id"
            f") changed JOIN {conversation} conversation ON conversation.id = NEW.conversation_id "
            f"WHERE true {conflict}; END"
        ),
        "search_message_gone": (
            f"AFTER DELETE ON {message} BEGIN "
            f"DELETE FROM {pending} WHERE message_id = OLD.id; "
            f"UPDATE {partition} SET version = version + 1 WHERE id = "
            f"(SELECT id >> {PARTITION_SHIFT} FROM {entry} WHERE message_id = OLD.id); "
            f"DELETE FROM {passage} WHERE entry_id = (SELECT id FROM {entry} WHERE message_id = OLD.id); "
            f"DELETE FROM {entry} WHERE message_id = OLD.id; END"
        ),
        # A new owner affects every message; a new title affects those with fewer than two turns before them.
        "search_conversation_changed": (
            f"AFTER UPDATE OF title, owner_id ON {conversation} "
            "WHEN OLD.title IS NOT NEW.title OR OLD.owner_id IS NOT NEW.owner_id BEGIN "
            f"{insert} SELECT message.id, NEW.owner_id, 0, 0, 0 FROM {message} message "
            f"LEFT JOIN {message} parent ON parent.id = message.parent_id "
            f"WHERE message.conversation_id = NEW.id AND {says_anything} "
            f"AND (OLD.owner_id <> NEW.owner_id OR parent.parent_id IS NULL) {conflict}; END"
        ),
        **(_file_triggers(tables, insert, conflict) if tables.file_text else {}),
    }


def _file_triggers(tables: Tables, insert: str, conflict: str) -> dict[str, str]:
    """Return the triggers that note the messages which carry a file whose text came, or went."""
    carrying = f"{insert} {tables.carrying_messages()}"
    return {
        "search_file_carried": (
            f"AFTER INSERT ON {tables.part} WHEN NEW.file_id IS NOT NULL BEGIN "
            f"{carrying} WHERE part.id = NEW.id AND said.text <> '' {conflict}; END"
        ),
        "search_file_read": (
            f"AFTER UPDATE OF text ON {tables.file_text} WHEN OLD.text IS NOT NEW.text BEGIN "
            f"{carrying} WHERE said.id = NEW.id {conflict}; END"
        ),
        "search_file_gone": (
            f"BEFORE DELETE ON {tables.file} BEGIN "
            f"{carrying} WHERE file.id = OLD.id AND said.text <> '' {conflict}; END"
        ),
    }
