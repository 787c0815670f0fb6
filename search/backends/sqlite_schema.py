"""The index's tables and triggers on SQLite: FTS5 over the terms of entries, and what happens by itself.

Terms are written as hexadecimal words. FTS5 keeps neither texts nor positions of its own.
"""

from __future__ import annotations

from search.models import SPACE_BITS

NOTE = "ON CONFLICT (message_id) DO UPDATE SET stage = 0, version = version + 1, claimed_until = 0"
COLUMNS = "search_pendingmessage (message_id, owner_id, stage, version, claimed_until)"
TEXT_TABLE = (
    "CREATE VIRTUAL TABLE search_text USING fts5(terms, content='search_entry', content_rowid='id', "
    "detail=none, columnsize=0, tokenize='ascii')"
)
FORGET = "INSERT INTO search_text (search_text, rowid, terms) VALUES ('delete', OLD.id, OLD.terms);"
LEARN = "INSERT INTO search_text (rowid, terms) VALUES (NEW.id, NEW.terms);"
# What deleted terms leave in the segments of FTS5 goes only when those are merged. The one row says that there is
# something left, or that a merge is under way which began after it.
LEFT, MERGING = 1, 2
LEFTOVER_TABLE = "CREATE TABLE search_leftover (id integer PRIMARY KEY CHECK (id = 1), state integer NOT NULL)"
LEAVE = (
    f"INSERT INTO search_leftover (id, state) VALUES (1, {LEFT}) ON CONFLICT (id) DO UPDATE SET state = excluded.state;"
)
TRIGGERS = {
    "search_entry_added": f"AFTER INSERT ON search_entry BEGIN {LEARN} END",
    "search_entry_changed": f"AFTER UPDATE OF terms ON search_entry BEGIN {FORGET} {LEARN} END",
    "search_entry_gone": f"AFTER DELETE ON search_entry BEGIN {FORGET} END",
    "search_entry_change_left": f"AFTER UPDATE OF terms ON search_entry WHEN OLD.terms <> NEW.terms BEGIN {LEAVE} END",
    "search_entry_left": f"AFTER DELETE ON search_entry BEGIN {LEAVE} END",
    "search_message_added": (
        "AFTER INSERT ON conversations_message WHEN NEW.content <> '' BEGIN "
        f"INSERT INTO {COLUMNS} SELECT NEW.id, talk.owner_id, 0, 0, 0 FROM conversations_conversation talk "
        f"WHERE talk.id = NEW.conversation_id {NOTE}; END"
    ),
    # The two turns after it were embedded with it, and are linked to it.
    "search_message_changed": (
        "AFTER UPDATE OF content, author, parent_id, conversation_id, created_at ON conversations_message "
        "WHEN OLD.content IS NOT NEW.content OR OLD.author IS NOT NEW.author OR OLD.parent_id IS NOT NEW.parent_id "
        "OR OLD.conversation_id IS NOT NEW.conversation_id OR OLD.created_at IS NOT NEW.created_at BEGIN "
        f"INSERT INTO {COLUMNS} SELECT changed.id, talk.owner_id, 0, 0, 0 FROM ("
        "SELECT NEW.id AS id UNION SELECT child.id FROM conversations_message child WHERE child.parent_id = NEW.id "
        "UNION SELECT grandchild.id FROM conversations_message child "
        "JOIN conversations_message grandchild ON grandchild.parent_id = child.id WHERE child.parent_id = NEW.id"
        f") changed JOIN conversations_conversation talk ON talk.id = NEW.conversation_id WHERE true {NOTE}; END"
    ),
    "search_message_gone": (
        "AFTER DELETE ON conversations_message BEGIN "
        "DELETE FROM search_pendingmessage WHERE message_id = OLD.id; "
        f"UPDATE search_space SET version = version + 1 WHERE id = "
        f"(SELECT id >> {SPACE_BITS} FROM search_entry WHERE message_id = OLD.id); "
        "DELETE FROM search_passage WHERE entry_id = (SELECT id FROM search_entry WHERE message_id = OLD.id); "
        "DELETE FROM search_entry WHERE message_id = OLD.id; END"
    ),
    # Of another owner everything; of a new title the turns that have fewer than two before them.
    "search_conversation_changed": (
        "AFTER UPDATE OF title, owner_id ON conversations_conversation "
        "WHEN OLD.title IS NOT NEW.title OR OLD.owner_id IS NOT NEW.owner_id BEGIN "
        f"INSERT INTO {COLUMNS} SELECT said.id, NEW.owner_id, 0, 0, 0 FROM conversations_message said "
        "LEFT JOIN conversations_message parent ON parent.id = said.parent_id "
        "WHERE said.conversation_id = NEW.id AND said.content <> '' "
        f"AND (OLD.owner_id <> NEW.owner_id OR parent.parent_id IS NULL) {NOTE}; END"
    ),
}
