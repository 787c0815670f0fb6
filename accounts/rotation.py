"""Rotates a key: a successor with another secret, while the old one keeps working for some hours."""

from __future__ import annotations

import datetime as dt
from functools import partial

from django.db import transaction
from django.utils import timezone

from accounts.models import ApiKey
from accounts.services import issue_api_key
from accounts.signals import api_key_revoked

OVERLAP_HOURS = 24
MAX_OVERLAP_HOURS = 168


class NotRotatable(Exception):
    """The key no longer works, or is being rotated already. The message is safe to show."""


@transaction.atomic
def rotate_api_key(
    *,
    key: ApiKey,
    overlap_hours: int = OVERLAP_HOURS,
    issued_by: ApiKey | None = None,
) -> tuple[ApiKey, str]:
    """Make the successor of a key and return it with its text; the old one expires after `overlap_hours`.

    The successor has the same name, rights and networks, and lives as long as the old one was meant to. The key in
    `issued_by`, which it does not outlive, replaces the old one's issuer. Raises NotRotatable.
    """
    # Locked, because two concurrent rotations would both find no successor.
    old = ApiKey.objects.usable().select_for_update(of=("self",)).filter(pk=key.pk).first()
    if old is None:
        raise NotRotatable("This key no longer works, so it cannot be rotated. Create another one.")
    _refuse_second(old)
    now = timezone.now()
    lives_until = now + (old.expires_at - old.created_at) if old.expires_at is not None else None
    limits = (lives_until, issued_by.expires_at if issued_by is not None else None)
    made = issue_api_key(
        user=old.user,
        name=old.name,
        expires_at=min((each for each in limits if each is not None), default=None),
        may_change_credentials=old.may_change_credentials,
        issued_by_id=issued_by.pk if issued_by is not None else old.issued_by_id,
        replaces_id=old.pk,
        scopes=old.scopes,
        networks=old.networks,
    )
    end = now + dt.timedelta(hours=overlap_hours)
    old.expires_at = min(end, old.expires_at) if old.expires_at is not None else end
    old.save(update_fields=["expires_at"])
    # Not revoked, but a cached principal may be valid for longer than that.
    transaction.on_commit(partial(api_key_revoked.send, sender=ApiKey, key=old))
    return made


def _refuse_second(old: ApiKey) -> None:
    """Raise NotRotatable if two keys in a row would work beside a third, each not counted."""
    successor = ApiKey.objects.usable().filter(replaces=old).first()
    if successor is not None:
        raise NotRotatable(f"This key was rotated already: cb_{successor.kid}… replaces it.")
    before = ApiKey.objects.usable().filter(successors=old).first()
    if before is not None:
        raise NotRotatable(
            f"This key replaces cb_{before.kid}…, which still works. Revoke that one first, or wait until it expires."
        )
