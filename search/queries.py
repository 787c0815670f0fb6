"""Searching messages, by the words as they stand, in any case. `MODE` is what an answer says found it."""

from __future__ import annotations

from django.db.models import Q

from accounts.principal import Principal
from conversations.models import Message, MessageQuerySet

MODE = "text"
AROUND = 80  # characters of a snippet on each side of what was found


def search_messages(principal: Principal, sought: str) -> MessageQuerySet:
    """Return the messages `principal` may see that say `sought`, in no order."""
    # SQLite knows no case beyond ASCII.
    forms = {sought} if sought.isascii() else {sought, sought.lower(), sought.upper(), sought.capitalize()}
    says = Q()
    for form in sorted(forms):
        says |= Q(content__icontains=form)
    return Message.objects.owned_by(principal).filter(says)


def snippet(content: str, sought: str) -> str:
    """Return what stands around the first place where `content` says `sought`."""
    at = max(0, content.lower().find(sought.lower()))
    return content[max(0, at - AROUND) : at + len(sought) + AROUND]
