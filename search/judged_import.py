"""Brings judged histories into the database for as long as they are measured."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from django.db import transaction

from accounts.models import User
from accounts.services import delete_user, register_user
from conversations.models import Conversation, Message
from conversations.services import start_conversation
from search.evaluation import History

ALL = "all"


@dataclass(frozen=True, slots=True)
class Imported:
    """The owner of each history, or of ALL; and the keys of the messages, by their ids."""

    owners: Mapping[str, User]
    names: Mapping[str, tuple[str, str]]


@contextmanager
def imported(histories: Sequence[History], *, owner_per_history: bool, keep: bool = False) -> Iterator[Imported]:
    """Store the histories, and delete them with their owners at the end unless they are kept."""
    owners: dict[str, User] = {}
    names: dict[str, tuple[str, str]] = {}
    try:
        for history in histories:
            whose = history.id if owner_per_history else ALL
            if whose not in owners:
                owners[whose] = register_user(username=f"evaluation-{secrets.token_hex(6)}")
            names |= import_history(history, owners[whose])
        yield Imported(owners, names)
    finally:
        if not keep:
            for user in owners.values():
                delete_user(user=user)


@transaction.atomic
def import_history(history: History, owner: User) -> dict[str, tuple[str, str]]:
    """Store each session as a conversation of `owner`; returns the keys of its messages by their new ids."""
    names: dict[str, tuple[str, str]] = {}
    for sitting in history.sittings:
        conversation = start_conversation(owner_id=owner.pk)
        first = sitting[0].speaker
        rows = [
            Message(
                conversation=conversation,
                position=position,
                role=line.role or (Message.Role.USER if line.speaker == first else Message.Role.ASSISTANT),
                author=line.speaker,
                content=line.content,
                created_at=line.at,
            )
            for position, line in enumerate(sitting, start=1)
        ]
        for above, below in pairwise(rows):
            below.parent = above
        Message.objects.bulk_create(rows)
        Conversation.objects.filter(pk=conversation.pk).update(head=rows[-1], next_position=len(rows) + 1)
        names |= {str(row.pk): line.key for row, line in zip(rows, sitting, strict=True)}
    return names
