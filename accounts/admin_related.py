"""What an account's page shows of what other apps keep: how to get there, and the latest of it, by one statement."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import CharField, DateTimeField, F, IntegerField, QuerySet, Value
from django.db.models.functions import Cast
from django.http import HttpRequest

from accounts.models import User
from foundation.admin_base import minute

SHOWN = 5


@dataclass(frozen=True)
class Related:
    """A list that has rows of an account, open to whom has `permission`; `address` leads to it.

    `latest` returns the rows, the newest first, `moment` and `words` are expressions for what is shown of one, and
    `page` the address of one. `sums` returns one row with what the rows add up to, as `words`, and the account's id as
    `user_id`; `told` says it in a sentence.
    """

    title: str
    permission: str
    address: Callable[[User], str]
    latest: Callable[[User], QuerySet[Any]] | None = None
    moment: str = "created_at"
    words: Any = Value("")
    page: Callable[[uuid.UUID], str] = str
    sums: Callable[[User], QuerySet[Any]] | None = None
    told: Callable[[str], str] = str


@dataclass
class Shown:
    title: str
    address: str
    facts: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)


RELATED: list[Related] = []
"""What the apps register, in the order of the page."""


def related_to(user: User, request: HttpRequest) -> list[Shown]:
    """Return what there is of an account that whoever asks may see."""
    open_to = [each for each in RELATED if request.user.has_perm(each.permission)]
    shown = [Shown(each.title, each.address(user), each.told("") if each.sums else "") for each in open_to]
    parts = [_part(number, each, user) for number, each in enumerate(open_to)]
    found: list[tuple[int, uuid.UUID, dt.datetime | None, str]] = []
    if parts:
        found = list(parts[0].union(*parts[1:], all=True)) if len(parts) > 1 else list(parts[0])
    for number, _, _, words in (row for row in found if row[2] is None):
        shown[number].facts = open_to[number].told(words)
    dated = [(moment, number, pk, words) for number, pk, moment, words in found if moment is not None]
    for moment, number, pk, words in sorted(dated, reverse=True):
        shown[number].rows.append((open_to[number].page(pk), minute(moment), words))
    return shown


def _part(number: int, related: Related, user: User) -> QuerySet[Any]:
    which = Value(number, output_field=IntegerField())
    found: QuerySet[Any]
    if related.latest is None:
        assert related.sums is not None
        never = Cast(Value(None), DateTimeField())
        found = related.sums(user).values_list(which, F("user_id"), never, F("words"))
        return found
    rows = related.latest(user)
    # The limit stands in a subquery: SQLite takes none in a part of a union.
    chosen = rows.model._default_manager.filter(pk__in=rows.values("pk")[:SHOWN]).order_by()
    found = chosen.values_list(
        which,
        F("pk"),
        F(related.moment),
        Cast(related.words, CharField()),
    )
    return found
