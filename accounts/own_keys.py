"""Keys that users make and revoke for themselves; these never have more rights than the caller."""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings
from django.db import transaction

from accounts.callers import NotAdmitted, Principal
from accounts.credential_changes import CredentialsRefused
from accounts.models import ApiKey, ApiKeyQuerySet, User
from accounts.services import issue_api_key, revoke_api_key


class TooManyKeys(Exception):
    """The account has as many usable keys as LIMIT_KEYS_PER_USER allows."""


def keys_of(principal: Principal) -> ApiKeyQuerySet:
    """Return the caller's own keys; a guest has none."""
    return ApiKey.objects.none() if principal.is_guest else ApiKey.objects.filter(user_id=principal.user_id)


@transaction.atomic
def issue_own_key(*, principal: Principal, name: str, expires_at: dt.datetime | None) -> tuple[ApiKey, str]:
    """Make a key for the caller and return it with its text. The new key cannot change credentials.

    A key made by another key does not outlive it (it expires no later and is revoked together with it), unless the
    maker may change credentials. Raises TooManyKeys, and NotAdmitted if the calling key was revoked meanwhile.
    """
    # Locked, because two concurrent requests that count the same rows would both be within the limit.
    User.objects.select_for_update(no_key=True).get(pk=principal.counted_id)
    limit = settings.LIMIT_KEYS_PER_USER
    sharing = User.objects.sharing_limits(principal.user_id)
    if limit and ApiKey.objects.usable().filter(user__in=sharing).count() >= limit:
        raise TooManyKeys(f"An account has at most {limit} keys (LIMIT_KEYS_PER_USER). Revoke one first.")
    issuer = None
    if principal.key_id is not None and not principal.may_change_credentials:
        issuer = ApiKey.objects.usable().select_for_update(of=("self",)).filter(pk=principal.key_id).first()
        if issuer is None:
            raise NotAdmitted("This key is no longer valid.")
        expires_at = min((each for each in (issuer.expires_at, expires_at) if each is not None), default=None)
    user = User.objects.get(pk=principal.user_id)
    return issue_api_key(user=user, name=name, expires_at=expires_at, issued_by_id=issuer.pk if issuer else None)


@transaction.atomic
def revoke_own_key(*, principal: Principal, key_id: uuid.UUID) -> ApiKey:
    """Revoke one of the caller's keys; raises ApiKey.DoesNotExist for any other.

    A key that may not change credentials can revoke only itself and the keys it made; else CredentialsRefused.
    """
    key = keys_of(principal).select_for_update().get(pk=key_id)
    if not principal.may_change_credentials and not _comes_from(key, principal.key_id):
        raise CredentialsRefused("This key can only revoke itself and the keys it created.")
    revoke_api_key(key=key)
    return key


def _comes_from(key: ApiKey | None, issuer_id: uuid.UUID | None) -> bool:
    while key is not None and key.pk != issuer_id:
        key = key.issued_by
    return key is not None
