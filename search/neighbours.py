"""The messages before and after a hit on its branch, and whether that branch is shown."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from conversations.models import Message


@dataclass(frozen=True, slots=True)
class Surroundings:
    shown: bool
    before: Message | None
    after: Message | None


def surroundings(messages: Sequence[Message]) -> dict[uuid.UUID, Surroundings]:
    """Return the surroundings of each of `messages`, whose conversations are loaded."""
    if not messages:
        return {}
    parents = _parents(messages)
    shown = _shown(messages, parents)
    asked = {_key(message.pk) for message in messages}
    after: dict[Any, Any] = {}
    for key, parent in parents.items():
        # The child on the shown branch, otherwise the newest.
        if parent in asked and after.get(parent) not in shown:
            after[parent] = key
    near = Message.objects.in_bulk({*after.values(), *(message.parent_id for message in messages)} - {None})
    by_key = {_key(pk): message for pk, message in near.items()}
    found = {}
    for message in messages:
        key = _key(message.pk)
        found[message.pk] = Surroundings(key in shown, near.get(message.parent_id), by_key.get(after.get(key)))
    return found


def _parents(messages: Sequence[Message]) -> dict[Any, Any]:
    """Return the parents of the messages in these conversations from the lowest of `messages` on: keys, oldest first.

    Children have higher positions than their parents: messages before the lowest one need not be read.
    """
    lowest: dict[uuid.UUID, int] = {}
    for message in messages:
        lowest[message.conversation_id] = min(message.position, lowest.get(message.conversation_id, message.position))
    # Raw SQL, because Django takes longer to combine this many conditions than the database takes to run them.
    where = " OR ".join(["(conversation_id = %s AND position >= %s)"] * len(lowest))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, parent_id FROM {Message._meta.db_table} WHERE {where} ORDER BY position",  # noqa: S608  placeholders alone
            [value for pk, position in lowest.items() for value in (_key(pk), position)],
        )
        return dict(cursor.fetchall())


def _shown(messages: Sequence[Message], parents: Mapping[Any, Any]) -> set[Any]:
    """Return the keys of the messages on the shown branches of these conversations."""
    shown: set[Any] = set()
    for conversation in {message.conversation_id: message.conversation for message in messages}.values():
        current = _key(conversation.head_id) if conversation.head_id is not None else None
        while current in parents and current not in shown:
            shown.add(current)
            current = parents[current]
    return shown


def _key(pk: uuid.UUID) -> Any:
    """Return an id in the form that raw SQL needs on this database."""
    return pk if connection.features.has_native_uuid_field else pk.hex
