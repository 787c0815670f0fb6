"""Counts how much each account holds: messages, and the bytes of its messages and conversations.

Triggers count in the transaction that writes (`quota_triggers.py`): a row of `StoredUsage` is what one statement added
or removed, and an account holds the sum of its rows. So writers never wait for each other's counter. A sweep merges an
account's rows now and then.

Bytes are counted in UTF-8: content and parts of messages (parts are rows of their own), title, metadata, generation
and tags of conversations, and the columns that apps above this one name. Derived or expiring data is not counted: the
search index, the chunks of streams, keys, and the rest of runs.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import Model, Sum

from accounts.models import User
from conversations.models import Conversation, Message, StoredUsage
from conversations.quota_triggers import add_sql, bytes_of, conversation_bytes, counted_columns, message_bytes

OWNERS = 100
MAX_ROWS = 2_000
# Nobody stores FAR_* within KNOWN_SECONDS, so the totals of an account that is this far from its quota are cached that
# long.
FAR_MESSAGES, FAR_BYTES, KNOWN_SECONDS, MAX_KNOWN = 100_000, 500_000_000, 5.0, 10_000


class Held(NamedTuple):
    """What an account holds."""

    messages: int = 0
    bytes: int = 0


_known: dict[uuid.UUID, tuple[Held, float]] = {}


class Drift(NamedTuple):
    """The error of an account's counters: what is stored minus what was counted."""

    owner_id: uuid.UUID
    messages: int
    bytes: int


def is_limited() -> bool:
    return bool(settings.LIMIT_MESSAGES_PER_USER or settings.LIMIT_STORED_BYTES_PER_USER)


def held_by(cursor: Any, owner_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Held]:
    """Return what each account holds together with all accounts that share its limits, as this transaction sees it.

    An account shares its limits with the accounts that it made: see `User.limits_owner`.
    """
    held = dict.fromkeys(owner_ids, Held())
    if held:
        ids = [_key(owner_id) for owner_id in owner_ids]
        counted = "coalesce(asked.limits_owner_id, asked.id)"
        cursor.execute(
            f"SELECT asked.id, sum(used.messages), sum(used.bytes) FROM {_table(User)} asked "  # noqa: S608
            f"JOIN {_table(User)} sharing ON sharing.id = {counted} OR sharing.limits_owner_id = {counted} "
            f"JOIN {_table(StoredUsage)} used ON used.owner_id = sharing.id "
            f"WHERE asked.id IN ({', '.join(['%s'] * len(ids))}) GROUP BY asked.id",
            ids,
        )
        held |= {_read_key(owner): Held(int(messages), int(size)) for owner, messages, size in cursor.fetchall()}
    return held


def held_about(cursor: Any, owner_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Held]:
    """Return the same as `held_by`, except that it may be a few seconds old for an account far from its quota."""
    now = time.monotonic()
    known = {owner: _known[owner][0] for owner in owner_ids if owner in _known and _known[owner][1] > now}
    asked = held_by(cursor, [owner for owner in owner_ids if owner not in known])
    if len(_known) > MAX_KNOWN:
        _known.clear()
    for owner, found in asked.items():
        if not reason_against(Held(found.messages, found.bytes + FAR_BYTES), messages=FAR_MESSAGES):
            _known[owner] = (found, now + KNOWN_SECONDS)
        else:
            _known.pop(owner, None)
    return known | asked


def held(owner_id: uuid.UUID) -> Held:
    """Return the total of an account and all accounts that share its limits."""
    with connection.cursor() as cursor:
        return held_by(cursor, [owner_id])[owner_id]


def said_of(user: User) -> str:
    """Return what the account itself holds, as a text for staff."""
    own = StoredUsage.objects.filter(owner_id=user.pk).aggregate(messages=Sum("messages"), bytes=Sum("bytes"))
    return f"{own['messages'] or 0:,} messages, {own['bytes'] or 0:,} bytes"


def reason_against(held: Held, *, messages: int) -> str:
    """Return why an account may not store this many more messages, naming the setting; '' if it may.

    One request may exceed the limit on bytes, because these are known only once they are stored.
    """
    limit = settings.LIMIT_MESSAGES_PER_USER
    if limit and held.messages + messages > limit:
        return f"This account holds {held.messages} of at most {limit} messages (LIMIT_MESSAGES_PER_USER)."
    limit = settings.LIMIT_STORED_BYTES_PER_USER
    if limit and held.bytes >= limit:
        return f"This account holds {held.bytes} of at most {limit} bytes (LIMIT_STORED_BYTES_PER_USER)."
    return ""


def fold() -> int:
    """Merge the rows of accounts that have several, a few thousand at a time; returns how many were merged.

    On SQLite each account has only one row anyway.
    """
    if connection.vendor != "postgresql":
        return 0
    usage = _table(StoredUsage)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH many AS (SELECT owner_id FROM {usage} GROUP BY owner_id HAVING count(*) > 1 LIMIT %s), "  # noqa: S608
            f"taken AS (SELECT id FROM {usage} WHERE owner_id IN (SELECT owner_id FROM many) "
            "LIMIT %s FOR UPDATE SKIP LOCKED), "
            f"gone AS (DELETE FROM {usage} WHERE id IN (SELECT id FROM taken) RETURNING owner_id, messages, bytes) "
            f"INSERT INTO {usage} (owner_id, messages, bytes) "
            "SELECT owner_id, sum(messages), sum(bytes) FROM gone GROUP BY owner_id RETURNING "
            "(SELECT count(*) FROM gone)",
            [MAX_ROWS, MAX_ROWS],
        )
        row = cursor.fetchone()
        # Rows of deleted accounts, written while these were being deleted.
        cursor.execute(
            f"DELETE FROM {usage} WHERE id IN (SELECT u.id FROM {usage} u "  # noqa: S608
            f"LEFT JOIN {_table(User)} a ON a.id = u.owner_id WHERE a.id IS NULL LIMIT %s)",
            [MAX_ROWS],
        )
    return row[0] if row else 0


def drifts() -> Iterator[Drift]:
    """Yield each account whose counters are wrong, a few accounts per statement.

    Each statement sees counters and contents as of the same moment, so concurrent writers do not matter.
    """
    owners = sorted(
        {*User.objects.values_list("pk", flat=True), *StoredUsage.objects.values_list("owner_id", flat=True).distinct()}
    )
    talk, said, usage = _table(Conversation), _table(Message), _table(StoredUsage)
    with connection.cursor() as cursor:
        further = list(counted_columns(cursor))
    for start in range(0, len(owners), OWNERS):
        ids = [_key(owner_id) for owner_id in owners[start : start + OWNERS]]
        marks = f"({', '.join(['%s'] * len(ids))})"
        with connection.cursor() as cursor:
            columns = "".join(
                f"UNION ALL SELECT {each.owner}, 0, sum({bytes_of(each.name)}) FROM {each.table} "  # noqa: S608
                f"WHERE {each.owner} IN {marks} AND {each.name} IS NOT NULL GROUP BY {each.owner} "
                for each in further
            )
            cursor.execute(
                "SELECT owner_id, sum(messages), sum(bytes) FROM ("  # noqa: S608
                f"SELECT talk.owner_id, count(*) AS messages, sum({message_bytes('said')}) AS bytes "
                f"FROM {said} said JOIN {talk} talk ON talk.id = said.conversation_id "
                f"WHERE talk.owner_id IN {marks} GROUP BY talk.owner_id "
                f"UNION ALL SELECT talk.owner_id, 0, sum({conversation_bytes('talk')}) "
                f"FROM {talk} talk WHERE talk.owner_id IN {marks} GROUP BY talk.owner_id {columns}"
                f"UNION ALL SELECT owner_id, -sum(messages), -sum(bytes) FROM {usage} WHERE owner_id IN {marks} "
                "GROUP BY owner_id) counted GROUP BY owner_id HAVING sum(messages) <> 0 OR sum(bytes) <> 0",
                ids * (3 + len(further)),
            )
            found = cursor.fetchall()
        for owner, messages, size in found:
            yield Drift(_read_key(owner), int(messages), int(size))


def correct(drift: Drift) -> None:
    """Add a drift to the counters, which is correct even if more was written since it was found."""
    with connection.cursor() as cursor:
        cursor.execute(add_sql("SELECT %s, %s, %s WHERE true"), [_key(drift.owner_id), drift.messages, drift.bytes])


def recount() -> int:
    """Count everything again and correct the counters; returns how many accounts had wrong ones."""
    wrong = 0
    for drift in drifts():
        correct(drift)
        wrong += 1
    return wrong


def _table(model: type[Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _key(owner_id: uuid.UUID) -> Any:
    return owner_id if connection.features.has_native_uuid_field else owner_id.hex


def _read_key(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)
