"""Whose messages are searched, and which of them pass the filters: conditions inside every query."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Q

from accounts.access import sole_owner
from accounts.callers import Principal
from accounts.erasing import without_erased
from accounts.models import User
from conversations.models import Message, MessageQuerySet
from search.allowed import Allowed
from search.analysis import Token, term_of
from search.languages import usual_language
from search.models import PARTITION_SHIFT, IndexPartition
from search.results import Filters


@dataclass(frozen=True, slots=True)
class Scope:
    """The partitions to search with their languages, the most entries they can have, and the messages to show.

    `narrower` tells that the partitions contain more than those messages.
    """

    who: str
    languages: Mapping[int, frozenset[str]]
    size: int
    everybody: bool
    narrower: bool
    messages: MessageQuerySet

    @property
    def partitions(self) -> tuple[int, ...]:
        return tuple(self.languages)

    @property
    def base(self) -> int:
        """Return what the ids of one owner's entries begin at: their callers need not learn the partition's number."""
        return 0 if self.everybody or not self.partitions else self.partitions[0] << PARTITION_SHIFT

    def terms(self, token: Token) -> list[int]:
        """Return the numbers under which the partitions may have indexed `token`, by the stems of their languages."""
        stems = {language: token.stem(language) for language in frozenset[str]().union(*self.languages.values())}
        return [
            term_of(partition, stem)
            for partition, languages in self.languages.items()
            for stem in {stems[language] for language in languages}
        ]

    @classmethod
    def of(cls, principal: Principal) -> Scope:
        """Return the scope of `principal`: its own messages, or for a guest all that guests made."""
        messages = Message.objects.visible_to(principal)
        owner_id = sole_owner(principal)
        if owner_id is None:
            languages, size = _partitions(Q(owner=None))
            return cls("guests", languages, size, False, False, messages)
        return cls._owners(str(owner_id), owner_id, messages)

    @classmethod
    def everybodys(cls, owner_id: uuid.UUID | None) -> Scope:
        """Return the scope of all messages, or of one owner's: for staff only."""
        messages = without_erased(Message.objects.all(), "conversation__owner")
        if owner_id is None:
            languages, size = _partitions(Q())
            return cls("staff", languages, size, True, False, messages)
        return cls._owners(f"staff {owner_id}", owner_id, messages.filter(conversation__owner_id=owner_id))

    @classmethod
    def _owners(cls, who: str, owner_id: uuid.UUID, messages: MessageQuerySet) -> Scope:
        languages, size = _partitions(Q(owner_id=owner_id))
        # Messages of an account that a guest made are in the guests' partition, even when its owner signs in.
        among_guests = not languages and User.objects.filter(pk=owner_id, guest_made=True).exists()
        if among_guests:
            languages, size = _partitions(Q(owner=None))
        return cls(who, languages, size, False, among_guests, messages)


def _partitions(which: Q) -> tuple[dict[int, frozenset[str]], int]:
    rows = list(IndexPartition.objects.filter(which).order_by("id").values_list("id", "next_seq", "languages"))
    usual = usual_language()
    return {pk: frozenset({usual, *languages.split()}) for pk, _, languages in rows}, sum(seq - 1 for _, seq, _ in rows)


def allowed_entries(scope: Scope, filters: Filters) -> Allowed:
    """Return the entries that pass `filters`."""
    if not scope.narrower and filters == Filters(owner_id=filters.owner_id):
        return Allowed()
    return Allowed.of(narrow(scope.messages, filters), listed=scope.narrower)


def narrow(messages: MessageQuerySet, filters: Filters) -> MessageQuerySet:
    """Return the messages that pass `filters`."""
    conditions = {
        "conversation_id": filters.conversation_id,
        "role__in": filters.roles or None,
        "model": filters.model or None,
        "created_at__gte": filters.after,
        "created_at__lt": filters.before,
        "conversation__archived_at__isnull": None if filters.archived is None else not filters.archived,
        "conversation__end_user": filters.end_user or None,
        "conversation__tags__key": filters.tag or None,
    }
    return messages.filter(**{name: value for name, value in conditions.items() if value is not None})
