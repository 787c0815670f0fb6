"""Makes millions of messages quickly: a few users with their index, and copies of them that PostgreSQL makes.

The rows of many users are written in turn, as time would: a user's are not neighbours. An id is the original's with the
copy's number in its last four bytes, so that references need no lookup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db import connection
from django.db.models import Model

from accounts.models import User
from benchmarks.retrieval_rows import Maker
from completions.models import Run
from conversations.models import Conversation, Message, StoredUsage
from search.analysis import HASH_BITS
from search.models import PARTITION_SHIFT, Entry, IndexPartition, Passage

ORIGINALS = 20
PER_USER = 1_000
AT_ONCE = 125
"""How many copies one statement makes; their rows lie between each other."""


def _copied(name: str) -> str:
    return f"overlay({name}::text placing lpad(to_hex(n), 8, '0') from 29)::uuid"


def _moved(name: str, shift: int) -> str:
    return f"{name} + ((n * {ORIGINALS})::bigint << {shift})"


def _changes() -> dict[type[Model], dict[str, str]]:
    """Return by table, in the order of writing, the expressions of the columns that differ in a copy."""
    terms = f"(SELECT array_agg({_moved('term', HASH_BITS)} ORDER BY term) FROM unnest(terms) AS term)"
    return {
        User: {"id": _copied("id"), "username": "username || '-' || n", "username_key": "username_key || '-' || n"},
        Conversation: {name: _copied(name) for name in ("id", "owner_id", "head_id")},
        Message: {name: _copied(name) for name in ("id", "conversation_id", "parent_id")},
        Run: {name: _copied(name) for name in ("id", "message_id", "conversation_id", "user_id")},
        StoredUsage: {"owner_id": _copied("owner_id")},
        IndexPartition: {"id": f"id + n * {ORIGINALS}", "owner_id": _copied("owner_id")},
        Entry: {
            "message_id": _copied("message_id"),
            "terms": terms,
            **{name: _moved(name, PARTITION_SHIFT) for name in ("id", "previous_1", "previous_2")},
        },
        Passage: {"entry_id": _moved("entry_id", PARTITION_SHIFT), "partition_id": f"partition_id + n * {ORIGINALS}"},
    }


def make(messages: int, embedder_id: int, say: Callable[[str], None]) -> None:
    """Fill an empty database with users of PER_USER messages each; `messages` are at least those of ORIGINALS users."""
    maker = Maker(1, embedder_id)
    for _ in range(ORIGINALS):
        maker.owner(PER_USER, keep=False)
    _answer()
    copies = max(0, round(messages / PER_USER / ORIGINALS) - 1)
    with connection.cursor() as cursor:
        cursor.execute("SET work_mem = '256MB'")
        for model, changes in _changes().items():
            table = connection.ops.quote_name(model._meta.db_table)
            cursor.execute(f"CREATE TEMP TABLE original AS SELECT * FROM {table}")
            for first in range(1, copies + 1, AT_ONCE):
                cursor.execute(_copy(model, changes), [first, min(copies, first + AT_ONCE - 1)])
            cursor.execute("DROP TABLE original")
            say(f"{model._meta.label}: {copies:,} copies")


def _answer() -> None:
    """Give every second message the run that wrote it, and each user the sum of what it stores."""
    runs = [
        Run(
            message=row,
            conversation_id=row.conversation_id,
            user_id=row.conversation.owner_id,
            upstream="openai",
            model="gpt-4o-mini",
            state=Run.State.COMPLETE,
            worker="bench",
            lease_until=0.0,
            created_at=row.created_at,
            finished_at=row.created_at,
        )
        for row in Message.objects.filter(role=Message.Role.ASSISTANT).select_related("conversation")
    ]
    Run.objects.bulk_create(runs, batch_size=2_000)
    owners = Conversation.objects.values_list("owner_id", flat=True).distinct()
    StoredUsage.objects.bulk_create(
        StoredUsage(owner_id=owner, messages=PER_USER, bytes=PER_USER * 200) for owner in owners
    )


def _copy(model: type[Model], changes: Mapping[str, str]) -> str:
    skipped = {"id"} - changes.keys()  # the database numbers these itself
    names: list[Any] = [field.column for field in model._meta.concrete_fields if field.column not in skipped]
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(changes.get(name, f'"{name}"') for name in names)
    return (
        f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} ({columns}) "
        f"SELECT {values} FROM original, generate_series(%s, %s) AS n ORDER BY original.id, n"
    )
