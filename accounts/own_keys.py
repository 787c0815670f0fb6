"""Keys that users make, rotate and revoke for themselves; these never have more rights than the caller."""

from __future__ import annotations

import datetime as dt
import ipaddress
import uuid
from collections.abc import Sequence

from django.conf import settings
from django.db import transaction

from accounts.callers import NotAdmitted, Principal
from accounts.credential_changes import CredentialsRefused
from accounts.models import ApiKey, ApiKeyQuerySet, User
from accounts.rotation import rotate_api_key
from accounts.scopes import narrowed, require_scopes
from accounts.services import issue_api_key, revoke_api_key


class TooManyKeys(Exception):
    """The account has as many usable keys as LIMIT_KEYS_PER_USER allows."""


def keys_of(principal: Principal) -> ApiKeyQuerySet:
    """Return the caller's own keys; a guest has none."""
    return ApiKey.objects.none() if principal.is_guest else ApiKey.objects.filter(user_id=principal.user_id)


@transaction.atomic
def issue_own_key(
    *,
    principal: Principal,
    name: str,
    expires_at: dt.datetime | None,
    scopes: Sequence[str] | None = None,
    networks: Sequence[str] | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for the caller and return it with its text. The new key cannot change credentials.

    Without `scopes` and `networks` it has those of the caller, and never more. A key made by another key does not
    outlive it (it expires no later and is revoked together with it), unless the maker may change credentials. Raises
    TooManyKeys, ScopeMissing, CredentialsRefused, and NotAdmitted if the calling key was revoked meanwhile.
    """
    _lock_account(principal)
    user = User.objects.get(pk=principal.user_id)
    if user.is_service:
        raise CredentialsRefused("This is a service account: staff create its keys (manage.py create_api_key).")
    _refuse_beyond_limit(principal, more=1)
    caller = _calling_key(principal)
    issuer = None if principal.may_change_credentials else caller
    if issuer is not None:
        expires_at = min((each for each in (issuer.expires_at, expires_at) if each is not None), default=None)
    return issue_api_key(
        user=user,
        name=name,
        expires_at=expires_at,
        issued_by_id=issuer.pk if issuer is not None else None,
        scopes=narrowed(principal, scopes),
        networks=_within(caller, networks or (caller.networks if caller is not None else None)),
    )


@transaction.atomic
def rotate_own_key(*, principal: Principal, key_id: uuid.UUID, overlap_hours: int) -> tuple[ApiKey, str]:
    """Make the successor of one of the caller's keys; raises ApiKey.DoesNotExist for any other.

    The rules of issue_own_key hold, except that a service account's key may rotate itself. While both keys work they
    count as one. Raises NotRotatable, too.
    """
    _lock_account(principal)
    key = keys_of(principal).get(pk=key_id)
    if key.may_change_credentials:
        raise CredentialsRefused("A key that may change credentials is rotated by manage.py rotate_api_key.")
    if not principal.may_change_credentials and not _comes_from(key, principal.key_id):
        raise CredentialsRefused("This key can only rotate itself and the keys it created.")
    caller = _calling_key(principal)
    # The caller sees the text of the successor.
    require_scopes(principal, key.scopes)
    _within(caller, key.networks)
    made = rotate_api_key(
        key=key, overlap_hours=overlap_hours, issued_by=None if principal.may_change_credentials else caller
    )
    _refuse_beyond_limit(principal)  # which counts the successor, and no longer the old key
    return made


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


def _lock_account(principal: Principal) -> None:
    # Two concurrent requests that count the same rows would both be within the limit.
    User.objects.select_for_update(no_key=True).get(pk=principal.counted_id)


def _refuse_beyond_limit(principal: Principal, more: int = 0) -> None:
    """Raise TooManyKeys if `more` keys are too many for the account and those it shares limits with."""
    limit = settings.LIMIT_KEYS_PER_USER
    counted = ApiKey.objects.counted().filter(user__in=User.objects.sharing_limits(principal.user_id))
    if limit and counted.count() + more > limit:
        raise TooManyKeys(f"An account has at most {limit} keys (LIMIT_KEYS_PER_USER). Revoke one first.")


def _calling_key(principal: Principal) -> ApiKey | None:
    """Return the key that the caller uses, locked; raises NotAdmitted if it was revoked meanwhile."""
    if principal.key_id is None:
        return None
    key = ApiKey.objects.usable().select_for_update(of=("self",)).filter(pk=principal.key_id).first()
    if key is None:
        raise NotAdmitted("This key is no longer valid.")
    return key


def _within(caller: ApiKey | None, networks: Sequence[str] | None) -> Sequence[str] | None:
    """Return `networks` if the calling key may be used from all of them; raises CredentialsRefused."""
    if caller is not None and caller.networks:
        for each in networks or ("0.0.0.0/0", "::/0"):
            if not any(_is_part(each, allowed) for allowed in caller.networks):
                raise CredentialsRefused(f"This key may not be used from {each}, and so cannot make keys that may.")
    return networks


def _is_part(network: str, of: str) -> bool:
    inner, outer = ipaddress.ip_network(network), ipaddress.ip_network(of)
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # the same version


def _comes_from(key: ApiKey | None, issuer_id: uuid.UUID | None) -> bool:
    while key is not None and key.pk != issuer_id:
        key = key.issued_by
    return key is not None
