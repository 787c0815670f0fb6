"""In whose messages a search looks, and what of them filters leave: conditions inside every query."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import numpy as np
from django.db.models import Q

from accounts.models import User
from accounts.principal import Principal
from conversations.models import Message, MessageQuerySet
from search.models import Entry, Space
from search.results import Filters


@dataclass(frozen=True, slots=True)
class Scope:
    """The spaces to look in, how many entries they hold at most, and the messages that may be shown from them.

    `narrower` says that the spaces hold more than those messages.
    """

    who: str
    spaces: tuple[int, ...]
    size: int
    everybody: bool
    narrower: bool
    messages: MessageQuerySet

    @classmethod
    def of(cls, principal: Principal) -> Scope:
        """Return what `principal` may see: its own; for guests whatever guests made."""
        messages = Message.objects.owned_by(principal)
        if principal.is_guest:
            spaces, size = _spaces(Q(owner=None))
            return cls("guests", spaces, size, False, False, messages)
        return cls._owners(str(principal.user_id), principal.user_id, messages)

    @classmethod
    def everybodys(cls, owner_id: uuid.UUID | None) -> Scope:
        """Return everything, or what one owner has: for staff alone."""
        if owner_id is None:
            spaces, size = _spaces(Q())
            return cls("staff", spaces, size, True, False, Message.objects.all())
        return cls._owners(f"staff {owner_id}", owner_id, Message.objects.filter(conversation__owner_id=owner_id))

    @classmethod
    def _owners(cls, who: str, owner_id: uuid.UUID, messages: MessageQuerySet) -> Scope:
        spaces, size = _spaces(Q(owner_id=owner_id))
        # What an account that a guest made holds stands among the other guests', also when its person signs in.
        among_guests = not spaces and User.objects.filter(pk=owner_id, guest_made=True).exists()
        if among_guests:
            spaces, size = _spaces(Q(owner=None))
        return cls(who, spaces, size, False, among_guests, messages)


def _spaces(which: Q) -> tuple[tuple[int, ...], int]:
    rows = list(Space.objects.filter(which).order_by("id").values_list("id", "next_seq"))
    return tuple(pk for pk, _ in rows), sum(seq - 1 for _, seq in rows)


def allowed_entries(scope: Scope, filters: Filters) -> np.ndarray | None:
    """Return the sorted ids of the entries that `filters` leave; None when that is all of them."""
    if not scope.narrower and filters == Filters(owner_id=filters.owner_id):
        return None
    left = narrow(scope.messages, filters).values("id")
    ids = Entry.objects.filter(message_id__in=left).order_by("id").values_list("id", flat=True)
    return np.fromiter(ids.iterator(chunk_size=10_000), "i8")


def narrow(messages: MessageQuerySet, filters: Filters) -> MessageQuerySet:
    """Return the messages that `filters` leave."""
    conditions = {
        "conversation_id": filters.conversation_id,
        "role__in": filters.roles or None,
        "model": filters.model or None,
        "created_at__gte": filters.after,
        "created_at__lt": filters.before,
        "conversation__archived_at__isnull": None if filters.archived is None else not filters.archived,
        "conversation__end_user": filters.end_user or None,
    }
    return messages.filter(**{name: value for name, value in conditions.items() if value is not None})
