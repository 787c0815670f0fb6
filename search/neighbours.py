"""What stands around a hit: the messages before and after it on its branch, and whether that branch is shown."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from conversations.models import Message


@dataclass(frozen=True, slots=True)
class Surroundings:
    shown: bool
    before: Message | None
    after: Message | None


def surroundings(messages: Sequence[Message]) -> dict[uuid.UUID, Surroundings]:
    """Return what stands around each of `messages`, whose conversations are loaded."""
    shown = _shown(messages)
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


def _shown(messages: Sequence[Message]) -> set[uuid.UUID]:
    """Return what is shown in the conversations of `messages`, up to those; children have higher positions."""
    lowest: dict[uuid.UUID, int] = {}
    for message in messages:
        lowest[message.conversation_id] = min(message.position, lowest.get(message.conversation_id, message.position))
    within = Q()
    for pk, position in lowest.items():
        within |= Q(conversation_id=pk, position__gte=position)
    parents = dict(Message.objects.filter(within).values_list("id", "parent_id")) if messages else {}
    shown: set[uuid.UUID] = set()
    for conversation in {message.conversation_id: message.conversation for message in messages}.values():
        current = conversation.head_id
        while current in parents and current not in shown:
            shown.add(current)
            current = parents[current]
    return shown
