"""Walks the message tree: which messages make up a branch. Reads one conversation's links, and each text once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from conversations.models import Message, load_parts


def branch_ids(conversation_id: uuid.UUID, leaf_id: uuid.UUID | None) -> list[uuid.UUID]:
    """Return the ids from the root down to `leaf_id`; empty without a leaf."""
    if leaf_id is None:
        return []
    parents = dict(Message.objects.of(conversation_id).values_list("id", "parent_id"))
    path: list[uuid.UUID] = []
    current: uuid.UUID | None = leaf_id
    while current is not None and current in parents and len(path) <= len(parents):
        path.append(current)
        current = parents[current]
    return path[::-1]


def branch(conversation_id: uuid.UUID, leaf_id: uuid.UUID | None) -> list[Message]:
    """Return the messages from the root down to `leaf_id`, oldest first."""
    ids = branch_ids(conversation_id, leaf_id)
    rows = in_bulk(ids)
    return [rows[each] for each in ids if each in rows]


def in_bulk(ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Message]:
    """Return the messages by id, with their parts loaded."""
    rows = Message.objects.in_bulk(list(ids))
    load_parts(rows.values())
    return rows
