"""Keys that people make and revoke for themselves: never more than they may do already."""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings
from django.db import transaction

from accounts.models import ApiKey, ApiKeyQuerySet, User
from accounts.principal import Principal
from accounts.services import issue_api_key, revoke_api_key


class TooManyKeys(Exception):
    """The account has as many usable keys as LIMIT_KEYS_PER_USER allows."""


def keys_of(principal: Principal) -> ApiKeyQuerySet:
    """Return the caller's own keys; a guest has none."""
    return ApiKey.objects.none() if principal.is_guest else ApiKey.objects.filter(user_id=principal.user_id)


@transaction.atomic
def issue_own_key(*, principal: Principal, name: str, expires_at: dt.datetime | None) -> tuple[ApiKey, str]:
    """Make a key for the caller and return it with its text. One that a key makes does not outlive that key.

    Raises TooManyKeys.
    """
    user = User.objects.select_for_update().get(pk=principal.user_id)
    limit = settings.LIMIT_KEYS_PER_USER
    if limit and ApiKey.objects.usable().filter(user=user).count() >= limit:
        raise TooManyKeys(f"An account has at most {limit} keys. Revoke one first.")
    if principal.key_id is not None:
        ends = ApiKey.objects.values_list("expires_at", flat=True).get(pk=principal.key_id)
        expires_at = min((each for each in (ends, expires_at) if each is not None), default=None)
    return issue_api_key(user=user, name=name, expires_at=expires_at)


@transaction.atomic
def revoke_own_key(*, principal: Principal, key_id: uuid.UUID) -> ApiKey:
    """Revoke one of the caller's keys; raises ApiKey.DoesNotExist for any other."""
    key = keys_of(principal).select_for_update().get(pk=key_id)
    revoke_api_key(key=key)
    return key
