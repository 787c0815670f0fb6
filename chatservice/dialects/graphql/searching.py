"""What was said where. By text until the search engine is there, and `match` says so."""

from __future__ import annotations

import strawberry
from django.db.models import Q

from accounts.principal import Principal
from chatservice.dialects.graphql.types import Message
from conversations import models as rows

AROUND = 80
"""Characters of a snippet on each side of what was found."""


@strawberry.type
class SearchHit:
    message: Message
    snippet: str
    score: float
    match: str


def matching(principal: Principal, sought: str) -> rows.MessageQuerySet:
    """Return the caller's messages that say `sought`."""
    # SQLite knows no case beyond ASCII.
    forms = {sought} if sought.isascii() else {sought, sought.lower(), sought.upper(), sought.capitalize()}
    says = Q()
    for form in sorted(forms):
        says |= Q(content__icontains=form)
    return rows.Message.objects.owned_by(principal).filter(says)


def hit(row: rows.Message, sought: str) -> SearchHit:
    at = max(0, row.content.lower().find(sought.lower()))
    snippet = row.content[max(0, at - AROUND) : at + len(sought) + AROUND]
    return SearchHit(message=Message.of(row), snippet=snippet, score=1.0, match="text")
