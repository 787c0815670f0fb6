"""Finds the limits of a caller, those of its groups, and those of its key. While there are none, no query is made."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Exists, Q, QuerySet
from django.db.models.signals import m2m_changed, post_delete, post_save

from accounts.limits import NO_LIMITS, NOTHING, Limits, Override, Overrides
from accounts.models import SubjectLimits, User
from accounts.signals import limits_changed

COUNTED = ("starts_per_minute", "runs_at_once", "tokens_per_minute", "reads_per_minute")
OF_ACCOUNT, OF_KEY = "limit of this account", "limit of this key"


def any_limits() -> Exists:
    """Return the condition that there are limits at all, for the query that finds a caller: it costs no other one."""
    return Exists(SubjectLimits.objects.all())


def limits_found(row: Any, user: User, key_id: uuid.UUID | None = None) -> Limits:
    """Return the limits of a user that was found with `row`, which has the annotation `any_limits`."""
    return limits_of(user, key_id) if row.any_limits else NO_LIMITS


def limits_of(user: User, key_id: uuid.UUID | None = None) -> Limits:
    """Return the limits of a user with a key or without one, by one query.

    A user's own value comes first, then the most generous of its groups'. An account that a user made has that user's
    limits. Guests' limits are settings.
    """
    subject = Q(key=key_id) if key_id is not None else Q(pk=None)
    if not user.guest_made:
        counted_id = user.limits_owner_id or user.pk
        groups = User.groups.through.objects.filter(user_id=counted_id).values("group_id")
        subject |= Q(user=counted_id) | Q(group__in=groups)
    rows = list(SubjectLimits.objects.filter(subject).select_related("group").order_by("group__name"))
    if not rows:
        return NO_LIMITS
    own = _overrides([row for row in rows if row.user_id is not None])
    shared = _overrides([row for row in rows if row.group_id is not None])
    account = {name: getattr(own, name) or getattr(shared, name) for name in Overrides.__dataclass_fields__}
    return Limits(Overrides(**account), _overrides([row for row in rows if row.key_id is not None]))


def _overrides(rows: Sequence[SubjectLimits]) -> Overrides:
    """Return the most generous values of these rows: a user's or a key's only one, or those of several groups."""
    if not rows:
        return NOTHING
    most: dict[str, Override[Any]] = {}
    for row in rows:
        for name in COUNTED:
            value = getattr(row, name)
            if value is not None and (name not in most or _is_more(value, most[name].value)):
                most[name] = Override(value, _named([row]))
        if row.search is not None and (row.search or "search" not in most):
            most["search"] = Override(row.search, _named([row]))
    if listing := [row for row in rows if row.models_allowed is not None]:
        patterns = dict.fromkeys(pattern for row in listing for pattern in row.models_allowed or ())
        most["models_allowed"] = Override(tuple(patterns), _named(listing))
    return Overrides(**most)


def _is_more(value: int, other: int) -> bool:
    """Tell whether a limit is more generous than another one; 0 is any number."""
    return other != 0 and (value == 0 or value > other)


def _named(rows: Iterable[SubjectLimits]) -> str:
    """Return what a refusal calls the limit of these rows, which are of one kind of subject."""
    groups = [f"'{row.group.name}'" for row in rows if row.group is not None]
    if groups:
        return f"limit of the group{'s' if len(groups) > 1 else ''} {' and '.join(groups)}"
    return OF_KEY if any(row.key_id is not None for row in rows) else OF_ACCOUNT


def groups_owned_by(user: User) -> QuerySet[Group]:
    """Return the groups whose usage, but none of whose content, a user may see."""
    return Group.objects.filter(owners__user=user).order_by("name")


def announce(sender: Any = None, **kwargs: Any) -> None:
    """Let this process forget the limits it knows once the transaction is committed; others forget them in time."""
    transaction.on_commit(lambda: limits_changed.send(sender=SubjectLimits))


for changes in (post_save, post_delete):
    changes.connect(announce, sender=SubjectLimits)
post_save.connect(announce, sender=Group)  # a refusal names it
m2m_changed.connect(announce, sender=User.groups.through)
