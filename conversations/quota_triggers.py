"""The triggers that count what each account holds, in the transaction that writes: see `quota.py`.

On PostgreSQL they add a row for each change, so that nobody waits for a counter that another transaction has changed.
On SQLite, where writers wait for each other anyway, each account always has one row. SQLite also refuses to remove a
column that a trigger names, so `apps.py` drops all triggers before migrations and installs them again afterwards.
Further columns that are counted, most of them of apps above this one, are named to `count_column`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Model

from foundation.database import BY_INDEX

USAGE = "conversations_storedusage"
MESSAGE, PART = "conversations_message", "conversations_messagepart"
CONVERSATION, USER = "conversations_conversation", "accounts_user"
# The bytes counted for kind, position and message id of a part.
PART_BYTES = 24
PART_COLUMNS = ("text", "call_id", "name", "data")
# One row per account: SQLite's triggers rely on it.
ONE_ROW = f"CREATE UNIQUE INDEX IF NOT EXISTS usage_one_row ON {USAGE} (owner_id)"
ADD_UP = "ON CONFLICT (owner_id) DO UPDATE SET messages = messages + excluded.messages, bytes = bytes + excluded.bytes"
INSTALL_LOCK = 0x75736167  # one process at a time creates triggers


class Column(NamedTuple):
    """A column whose bytes count, and the column with the id of the account that they count for."""

    table: str
    name: str
    owner: str


_columns: list[Column] = []


def count_column(model: type[Model], name: str, *, owner: str) -> None:
    """Count the bytes of a further column, mostly null, for the account whose id is in the column `owner`."""
    _columns.append(Column(model._meta.db_table, name, owner))


def counted_columns(cursor: Any) -> Iterator[Column]:
    """Yield those of the further columns that exist: not all migrations need have run."""
    tables = set(connection.introspection.table_names(cursor))
    for column in _columns:
        if column.table in tables:
            described = connection.introspection.get_table_description(cursor, column.table)
            if column.name in {each.name for each in described}:
                yield column


def bytes_of(expression: str) -> str:
    """Return the SQL for the length of a text or JSON value in bytes of UTF-8; 0 for null."""
    if connection.vendor == "postgresql":
        return f"coalesce(octet_length({expression}::text), 0)"
    return f"coalesce(length(CAST({expression} AS BLOB)), 0)"


def part_bytes(row: str) -> str:
    said = " + ".join(bytes_of(f"{row}.{column}") for column in PART_COLUMNS)
    return f"({PART_BYTES} + {said})"


def parts_bytes(row: str) -> str:
    """Return the SQL for the bytes of all parts of the message in `row`."""
    return f"coalesce((SELECT sum({part_bytes('part')}) FROM {PART} part WHERE part.message_id = {row}.id), 0)"


def message_bytes(row: str) -> str:
    return f"({bytes_of(f'{row}.content')} + {parts_bytes(row)})"


def conversation_bytes(row: str) -> str:
    return f"({bytes_of(f'{row}.title')} + {bytes_of(f'{row}.metadata')})"


def add_sql(select: str) -> str:
    """Return the statement that adds the (owner, messages, bytes) that `select` returns to the counters."""
    statement = f"INSERT INTO {USAGE} (owner_id, messages, bytes) {select}"
    return statement if connection.vendor == "postgresql" else f"{statement} {ADD_UP}"


def install(*, anew: bool) -> bool:
    """Create the missing triggers, or replace all if `anew`; returns whether any was missing.

    In that case changes may not have been counted.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        wanted = _triggers(counted_columns(cursor))
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [INSTALL_LOCK])
            cursor.execute("SELECT tgname FROM pg_trigger WHERE tgname = ANY(%s)", [list(wanted)])
        else:
            cursor.execute(ONE_ROW)
            cursor.execute(add_sql(f"SELECT id, 0, 0 FROM {USER} WHERE true"))
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        missing = set(wanted) - {name for (name,) in cursor.fetchall()}
        for name, (event, body) in wanted.items():
            if name not in missing and not anew:
                continue
            if connection.vendor == "postgresql":
                cursor.execute(
                    f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
                    f"{BY_INDEX} AS $body$ BEGIN {body} RETURN NULL; END $body$"
                )
                cursor.execute(f"CREATE OR REPLACE TRIGGER {name} {event} EXECUTE FUNCTION {name}()")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
                cursor.execute(f"CREATE TRIGGER {name} {event} BEGIN {body} END")
    return bool(missing)


def uninstall() -> None:
    """Drop the triggers."""
    with connection.cursor() as cursor:
        for name in _triggers(_columns):
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP FUNCTION IF EXISTS {name} CASCADE")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


def _triggers(columns: Iterable[Column]) -> dict[str, tuple[str, str]]:
    """Return the event and the body of each trigger by its name; `columns` are the further ones."""
    # ruff: noqa: S608  all of it is made from constants of this file
    postgres = connection.vendor == "postgresql"
    differ = "OLD.{0} IS DISTINCT FROM NEW.{0}" if postgres else "OLD.{0} IS NOT NEW.{0}"

    def update(table: str, *columns: str, same: str = "") -> str:
        when = " OR ".join(differ.format(name) for name in columns)
        unmoved = f" AND OLD.{same} = NEW.{same}" if same else ""
        return f"AFTER UPDATE OF {', '.join(columns)} ON {table} FOR EACH ROW WHEN (({when}){unmoved})"

    def add(owner: str, messages: str, size: str) -> str:
        # If a deletion takes conversations first, their messages have no owner to count for any more.
        if postgres:
            return add_sql(f"SELECT {owner}, {messages}, {size} WHERE {owner} IS NOT NULL") + ";"
        return f"UPDATE {USAGE} SET messages = messages + {messages}, bytes = bytes + {size} WHERE owner_id = {owner};"

    def owner_of(row: str) -> str:
        return f"(SELECT owner_id FROM {CONVERSATION} WHERE id = {row}.conversation_id)"

    def owner_of_part(row: str) -> str:
        conversation_id = f"(SELECT conversation_id FROM {MESSAGE} WHERE id = {row}.message_id)"
        return f"(SELECT owner_id FROM {CONVERSATION} WHERE id = {conversation_id})"

    def part(row: str, sign: str = "") -> str:
        return add(owner_of_part(row), "0", f"{sign}{part_bytes(row)}")

    def parts(rows: str, sign: str = "") -> str:
        owned = f"SELECT {owner_of_part('part')} AS owner_id, {part_bytes('part')} AS size FROM {rows} part OFFSET 0"
        counted = f"SELECT owner_id, 0, {sign}sum(size) FROM ({owned}) owned"
        return add_sql(f"{counted} WHERE owner_id IS NOT NULL GROUP BY owner_id") + ";"

    def message(row: str, sign: str = "") -> str:
        return add(owner_of(row), f"{sign}1", f"{sign}{message_bytes(row)}")

    def messages(rows: str, size: str, sign: str = "") -> str:
        # No join: the session keeps the plan made while the table was small, which would read all conversations.
        owned = f"SELECT {owner_of('said')} AS owner_id, {size} AS size FROM {rows} said OFFSET 0"
        counted = f"SELECT owner_id, {sign}count(*), {sign}sum(size) FROM ({owned}) owned"
        return add_sql(f"{counted} WHERE owner_id IS NOT NULL GROUP BY owner_id") + ";"

    def conversation(row: str, sign: str = "") -> str:
        return add(f"{row}.owner_id", "0", sign + conversation_bytes(row))

    def whole_conversation(row: str, sign: str = "") -> str:
        said = f"FROM {MESSAGE} said WHERE said.conversation_id = {row}.id"
        size = f"({conversation_bytes(row)} + coalesce((SELECT sum({message_bytes('said')}) {said}), 0))"
        return add(f"{row}.owner_id", f"{sign}(SELECT count(*) {said})", sign + size)

    def of_column(column: Column) -> dict[str, tuple[str, str]]:
        # A row without a value has nothing to count, and does not run the body.
        events = {"added": ("INSERT", "NEW", ""), "gone": ("DELETE", "OLD", "-")}
        found = {
            f"usage_{column.table}_{what}": (
                f"AFTER {event} ON {column.table} FOR EACH ROW WHEN ({row}.{column.name} IS NOT NULL)",
                add(f"{row}.{column.owner}", "0", sign + bytes_of(f"{row}.{column.name}")),
            )
            for what, (event, row, sign) in events.items()
        }
        body = "".join(body for _, body in reversed(found.values()))
        return found | {f"usage_{column.table}_changed": (update(column.table, column.name, column.owner), body)}

    each = "FOR EACH ROW"
    account_added = {"usage_account_added": (f"AFTER INSERT ON {USER} {each}", add_sql("VALUES (NEW.id, 0, 0)") + ";")}
    # Parts are inserted after their message, and counted separately.
    added = (f"AFTER INSERT ON {MESSAGE} {each}", add(owner_of("NEW"), "1", bytes_of("NEW.content")))
    gone = (f"AFTER DELETE ON {MESSAGE} {each}", message("OLD", "-"))
    parts_added = (f"AFTER INSERT ON {PART} {each}", part("NEW"))
    parts_gone = (f"AFTER DELETE ON {PART} {each}", part("OLD", "-"))
    if postgres:  # no row until one is needed, and a single row for many messages
        account_added = {}
        text_bytes, all_bytes = bytes_of("said.content"), message_bytes("said")
        new_rows, old_rows = "REFERENCING NEW TABLE AS fresh", "REFERENCING OLD TABLE AS gone"
        added = (
            f"AFTER INSERT ON {MESSAGE} {new_rows} FOR EACH STATEMENT",
            messages("fresh", text_bytes),
        )
        gone = (
            f"AFTER DELETE ON {MESSAGE} {old_rows} FOR EACH STATEMENT",
            messages("gone", all_bytes, "-"),
        )
        parts_added = (f"AFTER INSERT ON {PART} {new_rows} FOR EACH STATEMENT", parts("fresh"))
        parts_gone = (f"AFTER DELETE ON {PART} {old_rows} FOR EACH STATEMENT", parts("gone", "-"))
    return {
        **account_added,
        "usage_messages_added": added,
        "usage_messages_gone": gone,
        "usage_message_changed": (
            update(MESSAGE, "content", same="conversation_id"),
            add(owner_of("NEW"), "0", f"{bytes_of('NEW.content')} - {bytes_of('OLD.content')}"),
        ),
        "usage_message_moved": (update(MESSAGE, "conversation_id"), message("OLD", "-") + message("NEW")),
        "usage_parts_added": parts_added,
        "usage_parts_gone": parts_gone,
        "usage_part_changed": (
            update(PART, *PART_COLUMNS, same="message_id"),
            add(owner_of_part("NEW"), "0", f"{part_bytes('NEW')} - {part_bytes('OLD')}"),
        ),
        "usage_conversation_added": (f"AFTER INSERT ON {CONVERSATION} {each}", conversation("NEW")),
        # Also counts its remaining messages: once the conversation is deleted, their owner cannot be looked up.
        "usage_conversation_gone": (f"AFTER DELETE ON {CONVERSATION} {each}", whole_conversation("OLD", "-")),
        "usage_conversation_changed": (
            update(CONVERSATION, "title", "metadata", same="owner_id"),
            add("NEW.owner_id", "0", f"{conversation_bytes('NEW')} - {conversation_bytes('OLD')}"),
        ),
        "usage_conversation_moved": (
            update(CONVERSATION, "owner_id"),
            whole_conversation("OLD", "-") + whole_conversation("NEW"),
        ),
        "usage_account_gone": (f"AFTER DELETE ON {USER} {each}", f"DELETE FROM {USAGE} WHERE owner_id = OLD.id;"),
        **{name: trigger for column in columns for name, trigger in of_column(column).items()},
    }
