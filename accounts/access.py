"""Decides who may see which rows; querysets, raw SQL and search all ask this module.

A caller with an account sees what the account owns; guests together see what guests made. Staff see other people's rows
only in the admin, by permissions and under the access log, and never through this module.
"""

from __future__ import annotations

import uuid
from typing import Self, TypeVar

from django.db import models
from django.db.models import Q

from accounts.callers import Principal
from accounts.models import User

Row = TypeVar("Row", bound=models.Model, covariant=True)


def sole_owner(principal: Principal) -> uuid.UUID | None:
    """Return the one owner whose rows `principal` sees; None for guests, who see the rows of all guests."""
    return None if principal.is_guest else principal.user_id


def visible(principal: Principal, owner: str) -> Q:
    """Return the condition on the rows that `principal` may see; `owner` is the lookup of their owner, "" for users."""
    prefix = f"{owner}__" if owner else ""
    pk = sole_owner(principal)
    return Q(**{f"{prefix}guest_made": True}) if pk is None else Q(**{owner or "pk": pk})


def visible_by_id(principal: Principal, column: str) -> Q:
    """Return the same condition for a plain `column` that holds the owner's id without a foreign key."""
    pk = sole_owner(principal)
    if pk is not None:
        return Q(**{column: pk})
    return Q(**{f"{column}__in": User.objects.filter(guest_made=True).values("pk")})


def may_see(principal: Principal, *, owner_id: uuid.UUID, guest_made: bool) -> bool:
    """Tell whether `principal` may see this owner's rows; for rows that were read by raw SQL."""
    pk = sole_owner(principal)
    return guest_made if pk is None else owner_id == pk


class OwnedQuerySet(models.QuerySet[Row]):
    """Rows that somebody owns: `owner_lookup` leads from a row to its owner."""

    owner_lookup = "owner"

    def visible_to(self, principal: Principal) -> Self:
        """Return the rows that `principal` may see, which are also those it may change."""
        return self.filter(visible(principal, self.owner_lookup))
