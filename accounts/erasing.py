"""Which accounts are being erased, who takes the next step, and how far it is.

An account is unusable and hidden at once; what it holds is deleted in bounded steps, by whichever process claims the
next one. A claim expires, so a process that dies delays the rest by CLAIM_SECONDS at most.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import models
from django.db.models import Exists, OuterRef
from django.db.models.expressions import RawSQL

from accounts.models import AccountErasure
from foundation.database import database_clock

CLAIM_SECONDS = 30  # longer than any step takes
Rows = TypeVar("Rows", bound=models.QuerySet[Any])

# What other apps count of an account: each function returns how many rows an account holds.
HOLDINGS: list[Callable[[uuid.UUID], int]] = []


def held_by(user_id: uuid.UUID) -> int:
    """Return how many conversations, files and other things an account holds that are deleted in steps."""
    return sum(count(user_id) for count in HOLDINGS)


def without_erased(rows: Rows, owner: str) -> Rows:
    """Leave out what accounts own that are being erased; `owner` is the lookup of the owner's id."""
    return rows.filter(~Exists(AccountErasure.objects.filter(user=OuterRef(owner))))


def claim(user_id: uuid.UUID) -> bool:
    """Claim the next step of an erasure; returns False if another process takes one, or nothing is left."""
    free = AccountErasure.objects.filter(user=user_id, claimed_until__lt=_clock())
    return bool(free.update(claimed_until=_clock(CLAIM_SECONDS)))


def claim_any() -> uuid.UUID | None:
    """Claim a step of the erasure that was requested first of those on which nobody works; return whose it is."""
    waiting = AccountErasure.objects.filter(claimed_until__lt=_clock()).order_by("requested_at")
    user_id = waiting.values_list("user_id", flat=True).first()
    return user_id if user_id is not None and claim(user_id) else None


def release(user_id: uuid.UUID) -> None:
    AccountErasure.objects.filter(user=user_id).update(claimed_until=0)


def _clock(more: int = 0) -> RawSQL:
    return RawSQL(f"{database_clock()} + {more}", [])  # noqa: S611  an expression of ours
