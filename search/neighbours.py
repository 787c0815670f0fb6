"""The messages before and after a hit on its branch, and whether that branch is shown."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Q

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
    shown = _shown(messages)
    parent_ids = {message.parent_id for message in messages} - {None}
    near = Q(parent_id__in=[message.pk for message in messages]) | Q(pk__in=parent_ids)
    parents: dict[uuid.UUID | None, Message] = {}
    after: dict[uuid.UUID | None, Message] = {}
    for message in Message.objects.filter(near).oldest_first():
        parents[message.pk] = message
        known = after.get(message.parent_id)
        if known is None or _key(known.pk) not in shown:
            after[message.parent_id] = message
    return {
        message.pk: Surroundings(_key(message.pk) in shown, parents.get(message.parent_id), after.get(message.pk))
        for message in messages
    }


def _shown(messages: Sequence[Message]) -> set[Any]:
    """Return the keys of the shown messages in these conversations, down to the lowest of `messages`.

    Children have higher positions than their parents: messages before the lowest one need not be read.
    """
    lowest: dict[uuid.UUID, int] = {}
    for message in messages:
        lowest[message.conversation_id] = min(message.position, lowest.get(message.conversation_id, message.position))
    # Raw SQL, because Django takes longer to combine this many conditions than the database takes to run them.
    where = " OR ".join(["(conversation_id = %s AND position >= %s)"] * len(lowest))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, parent_id FROM {Message._meta.db_table} WHERE {where}",  # noqa: S608  placeholders alone
            [value for pk, position in lowest.items() for value in (_key(pk), position)],
        )
        parents: dict[Any, Any] = dict(cursor.fetchall())
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
