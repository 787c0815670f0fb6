"""Registers every model with rows that belong to an account, so that all of them are exported.

Each app registers its own models in its `personal_data.py`; a test checks that no model is missing.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db.models import Model, Q

from accounts.erasure import counters_of, sessions_of
from accounts.models import (
    ApiKey,
    ApiKeyUse,
    BrowserSession,
    FailedSignIn,
    GroupOwner,
    PasswordDelay,
    RateWindow,
    SubjectLimits,
    User,
)
from accounts.password_attempts import delays_of

ROWS = 200


@dataclass(frozen=True, slots=True)
class Personal:
    """Who owns the rows of `model`; `owner` is the lookup of the user's id. `secret` fields are never exported.

    `content` yields what belongs to a row and is not in the database, in pieces.
    """

    model: type[Model]
    owner: str = ""
    secret: frozenset[str] = frozenset()
    find: Callable[[User], Iterator[Model]] | None = None
    content: Callable[[Any], Iterator[dict[str, Any]]] | None = None

    def rows_of(self, user: User) -> Iterator[Model]:
        if self.find is not None:
            yield from self.find(user)
            return
        # Paged by key, without a cursor: the connection may go back to the pool between two rows of a stream.
        rows = self.model._default_manager.filter(**{self.owner: user.pk}).order_by("pk")
        page = list(rows[:ROWS])
        while page:
            yield from page
            page = list(rows.filter(pk__gt=page[-1].pk)[:ROWS])


_registry: dict[type[Model], Personal] = {}


def register(
    model: type[Model],
    *,
    owner: str = "",
    secret: tuple[str, ...] = (),
    find: Callable[[User], Iterator[Model]] | None = None,
    content: Callable[[Any], Iterator[dict[str, Any]]] | None = None,
) -> None:
    """Register the owner of the rows of `model`: by a lookup of the user's id, or by a function."""
    _registry[model] = Personal(model, owner, frozenset(secret), find, content)


def registered() -> tuple[Personal, ...]:
    return tuple(_registry.values())


def export_account(user: User) -> Iterator[str]:
    """Yield everything stored about `user`, one line of JSON per row: `{"model": ..., "row": {...}}`.

    Content outside of the database follows its row, in lines `{"model": ..., "content": {...}}`.
    """
    for personal in registered():
        for row in personal.rows_of(user):
            values = {
                field.attname: field.value_from_object(row)
                for field in row._meta.concrete_fields
                if field.name not in personal.secret
            }
            yield _line(row, "row", values)
            for piece in personal.content(row) if personal.content else ():
                yield _line(row, "content", piece)


def _line(row: Model, kind: str, values: dict[str, Any]) -> str:
    return json.dumps({"model": row._meta.label_lower, kind: values}, default=_plain, ensure_ascii=False) + "\n"


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, (dt.datetime, dt.date)) else str(value)


register(User, owner="pk", secret=("password",))
register(User.groups.through, owner="user")
register(User.user_permissions.through, owner="user")
register(ApiKey, owner="user", secret=("digest",))
register(ApiKeyUse, owner="key__user")
register(Session, secret=("session_key", "session_data"), find=sessions_of)
register(BrowserSession, owner="user", secret=("session",))
register(RateWindow, find=counters_of)
register(FailedSignIn, owner="user")
register(PasswordDelay, find=delays_of)
register(SubjectLimits, find=lambda user: SubjectLimits.objects.filter(Q(user=user) | Q(key__user=user)).iterator())
register(GroupOwner, owner="user")
register(LogEntry, owner="user")
