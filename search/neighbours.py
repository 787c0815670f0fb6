"""What stands around a hit: the messages before and after it on its branch, and whether that branch is shown."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from conversations.branches import branch_ids
from conversations.models import Message


@dataclass(frozen=True, slots=True)
class Surroundings:
    shown: bool
    before: Message | None
    after: Message | None


def surroundings(messages: Sequence[Message]) -> dict[uuid.UUID, Surroundings]:
    """Return what stands around each of `messages`, whose conversations are loaded."""
    conversations = {message.conversation_id: message.conversation for message in messages}
    shown = {leaf for pk, row in conversations.items() for leaf in branch_ids(pk, row.head_id)}
    parents = Message.objects.in_bulk({message.parent_id for message in messages} - {None})
    after: dict[uuid.UUID, Message] = {}
    for child in Message.objects.filter(parent_id__in=[message.pk for message in messages]).oldest_first():
        known = after.get(child.parent_id)
        if known is None or known.pk not in shown:
            after[child.parent_id] = child
    return {
        message.pk: Surroundings(message.pk in shown, parents.get(message.parent_id), after.get(message.pk))
        for message in messages
    }
