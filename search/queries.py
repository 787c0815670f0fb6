"""Searching messages: the one way in. Ownership is a condition inside every query, never a filter after it."""

from __future__ import annotations

import time

from django.db.models import Q

from accounts.principal import Principal
from conversations.models import Message, MessageQuerySet
from search.cursors import read_cursor, write_cursor
from search.neighbours import surroundings
from search.results import MOST_HITS, Filters, Hit, Hits, InvalidCursor, Mode

__all__ = ["Filters", "Hit", "Hits", "InvalidCursor", "Mode", "search_everybody", "search_messages"]

MODE = "text"
AROUND = 80  # characters of a snippet on each side of what was found
NO_EMBEDDER = "Search by meaning is not there yet."


def search_messages(
    principal: Principal,
    text: str,
    *,
    mode: Mode = Mode.HYBRID,
    filters: Filters = Filters(),  # noqa: B008  frozen
    limit: int = 20,
    cursor: str = "",
) -> Hits:
    """Find what `principal` may see that says `text`, best first; raises InvalidCursor."""
    return _search(Message.objects.owned_by(principal), principal.user_id, text, mode, filters, limit, cursor)


def search_everybody(
    text: str,
    *,
    mode: Mode = Mode.HYBRID,
    filters: Filters = Filters(),  # noqa: B008  frozen
    limit: int = 20,
    cursor: str = "",
) -> Hits:
    """Find in everybody's messages, or in `filters.owner_id`'s: for staff alone; raises InvalidCursor."""
    everything = Message.objects.all()
    if filters.owner_id is not None:
        everything = everything.filter(conversation__owner_id=filters.owner_id)
    return _search(everything, None, text, mode, filters, limit, cursor)


def messages_saying(principal: Principal, sought: str) -> MessageQuerySet:
    """Return the messages `principal` may see that say `sought`, in no order."""
    return _saying(Message.objects.owned_by(principal), sought)


def snippet(content: str, sought: str) -> str:
    """Return what stands around the first place where `content` says `sought`."""
    at = max(0, content.lower().find(sought.lower()))
    return content[max(0, at - AROUND) : at + len(sought) + AROUND]


def _search(
    within: MessageQuerySet, who: object, text: str, mode: Mode, filters: Filters, limit: int, cursor: str
) -> Hits:
    began = time.perf_counter()
    size = max(1, min(limit, MOST_HITS))
    search = (str(who), text, mode, filters)
    offset = read_cursor(cursor, *search)
    found = within
    for word in text.split():
        found = _saying(found, word)
    ordered = _narrow(found, filters).select_related("conversation").order_by("-created_at", "-id")
    rows = list(ordered[offset : offset + size + 1])
    around = surroundings(rows[:size])
    hits = tuple(
        Hit(
            message=row,
            snippet=(piece := snippet(row.content, text.split()[0])),
            highlights=_highlights(piece, text),
            score=1.0,
            text_score=1.0,
            semantic_score=None,
            shown=around[row.pk].shown,
            before=around[row.pk].before,
            after=around[row.pk].after,
        )
        for row in rows[:size]
    )
    more = write_cursor(offset + size, *search) if len(rows) > size else ""
    why = "" if mode == Mode.TEXT else NO_EMBEDDER
    return Hits(hits, mode, Mode.TEXT, why, more, (time.perf_counter() - began) * 1000)


def _narrow(messages: MessageQuerySet, filters: Filters) -> MessageQuerySet:
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


def _saying(messages: MessageQuerySet, sought: str) -> MessageQuerySet:
    # SQLite knows no case beyond ASCII.
    forms = {sought} if sought.isascii() else {sought, sought.lower(), sought.upper(), sought.capitalize()}
    says = Q()
    for form in sorted(forms):
        says |= Q(content__icontains=form)
    return messages.filter(says)


def _highlights(piece: str, text: str) -> tuple[tuple[int, int], ...]:
    plain, found = piece.lower(), []
    if len(plain) == len(piece):
        for word in {word.lower() for word in text.split()}:
            at = plain.find(word)
            if at >= 0:
                found.append((at, at + len(word)))
    return tuple(sorted(found))
