"""Records on which days and from which networks a key is used, for its owner and staff to see."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
import uuid

from django.db import IntegrityError, OperationalError
from django.utils import timezone

from accounts.addresses import shortened_address
from accounts.models import ApiKey, ApiKeyUse

KEPT_DAYS = 90
NOTED_EVERY = dt.timedelta(minutes=1)
MAX_NETWORKS = 20  # of one key on one day; the others are summed up
ELSEWHERE = "elsewhere"
CACHE_SIZE = 10_000

# When this process last wrote that a key was used from a network.
_noted: dict[tuple[uuid.UUID, str], float] = {}


def note_use(key: ApiKey, address: str) -> None:
    """Record that a key is used, at most once a minute for each network that it is used from."""
    now, network = timezone.now(), shortened_address(address)
    # The caller is not refused just because the database is too busy to record the use.
    with contextlib.suppress(OperationalError):
        if key.last_used_at is None or now - key.last_used_at > NOTED_EVERY:
            ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
        if _is_due(key.pk, network):
            _write(key, now.astimezone(dt.UTC).date(), network)


def prune_key_uses() -> int:
    """Delete the uses of days more than KEPT_DAYS ago; return how many there were."""
    first = timezone.now().astimezone(dt.UTC).date() - dt.timedelta(days=KEPT_DAYS)
    return ApiKeyUse.objects.filter(day__lt=first).delete()[0]


def _is_due(key_id: uuid.UUID, network: str) -> bool:
    now = time.monotonic()
    last = _noted.get((key_id, network))
    if last is not None and now - last <= NOTED_EVERY.total_seconds():
        return False
    if len(_noted) >= CACHE_SIZE:
        _noted.clear()
    _noted[(key_id, network)] = now
    return True


def _write(key: ApiKey, day: dt.date, network: str) -> None:
    of_today = key.uses.filter(day=day)
    known = set(of_today.values_list("network", flat=True))
    named = network if len(known) < MAX_NETWORKS else ELSEWHERE
    if network in known or named in known:
        return
    with contextlib.suppress(IntegrityError):  # the key was deleted meanwhile
        ApiKeyUse.objects.bulk_create([ApiKeyUse(key=key, day=day, network=named)], ignore_conflicts=True)
