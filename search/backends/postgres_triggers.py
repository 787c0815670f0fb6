"""What PostgreSQL does by itself when messages change: note the work, and forget with the message.

Inside the transaction of whoever writes, be it a service, hand-written SQL or a console.
"""

from __future__ import annotations

NOTE = (
    "ON CONFLICT (message_id) DO UPDATE SET stage = 0, version = search_pendingmessage.version + 1, claimed_until = 0"
)
COLUMNS = "search_pendingmessage (message_id, owner_id, stage, version, claimed_until)"


def _function(name: str, body: str) -> str:
    return (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$body$ BEGIN {body} RETURN NULL; END $body$"
    )


TRIGGERS = (
    _function(
        "search_messages_added",
        f"INSERT INTO {COLUMNS} SELECT fresh.id, talk.owner_id, 0, 0, 0 FROM fresh "
        "JOIN conversations_conversation talk ON talk.id = fresh.conversation_id WHERE fresh.content <> '' "
        f"{NOTE};",
    ),
    "CREATE OR REPLACE TRIGGER search_messages_added AFTER INSERT ON conversations_message "
    "REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION search_messages_added()",
    _function(
        "search_message_changed",
        # The two turns after it were embedded with it, and are linked to it.
        f"INSERT INTO {COLUMNS} SELECT changed.id, talk.owner_id, 0, 0, 0 FROM ("
        "SELECT NEW.id UNION SELECT child.id FROM conversations_message child WHERE child.parent_id = NEW.id "
        "UNION SELECT grandchild.id FROM conversations_message child "
        "JOIN conversations_message grandchild ON grandchild.parent_id = child.id WHERE child.parent_id = NEW.id"
        ") changed (id) JOIN conversations_conversation talk ON talk.id = NEW.conversation_id "
        f"ORDER BY 1 {NOTE};",
    ),
    "CREATE OR REPLACE TRIGGER search_message_changed "
    "AFTER UPDATE OF content, author, parent_id, conversation_id, created_at ON conversations_message FOR EACH ROW "
    "WHEN ((OLD.content, OLD.author, OLD.parent_id, OLD.conversation_id, OLD.created_at) IS DISTINCT FROM "
    "(NEW.content, NEW.author, NEW.parent_id, NEW.conversation_id, NEW.created_at)) "
    "EXECUTE FUNCTION search_message_changed()",
    _function(
        "search_messages_gone",
        "DELETE FROM search_pendingmessage WHERE message_id IN (SELECT id FROM gone); "
        "DELETE FROM search_passage WHERE entry_id IN "
        "(SELECT entry.id FROM search_entry entry JOIN gone ON gone.id = entry.message_id); "
        "DELETE FROM search_entry WHERE message_id IN (SELECT id FROM gone);",
    ),
    "CREATE OR REPLACE TRIGGER search_messages_gone AFTER DELETE ON conversations_message "
    "REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION search_messages_gone()",
    _function(
        "search_conversation_changed",
        # Of another owner everything; of a new title the turns that have fewer than two before them.
        f"INSERT INTO {COLUMNS} SELECT said.id, NEW.owner_id, 0, 0, 0 FROM conversations_message said "
        "LEFT JOIN conversations_message parent ON parent.id = said.parent_id "
        "WHERE said.conversation_id = NEW.id AND said.content <> '' "
        f"AND (OLD.owner_id <> NEW.owner_id OR parent.parent_id IS NULL) ORDER BY 1 {NOTE};",
    ),
    "CREATE OR REPLACE TRIGGER search_conversation_changed AFTER UPDATE OF title, owner_id "
    "ON conversations_conversation FOR EACH ROW "
    "WHEN ((OLD.title, OLD.owner_id) IS DISTINCT FROM (NEW.title, NEW.owner_id)) "
    "EXECUTE FUNCTION search_conversation_changed()",
)
TRIGGER_NAMES = [made.split()[4] for made in TRIGGERS if made.startswith("CREATE OR REPLACE TRIGGER ")]
