"""Whose account an identity at the OpenID provider is, and what its claims make of the account."""

from __future__ import annotations

import logging
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import User
from accounts.services import register_user

logger = logging.getLogger(__name__)

NAMES_TRIED = 20


class NotLinked(Exception):
    """Nobody's account here belongs to the identity. The message is for the person, and names the setting."""


@transaction.atomic
def account_of(claims: dict[str, Any]) -> User:
    """Return the account of an identity that no account is linked to yet: one by e-mail, or a new one.

    Raises NotLinked. The caller links them.
    """
    if settings.OIDC.link_by_email and (user := _by_email(claims)):
        return user
    if settings.OIDC.sign_up:
        return _new_account(claims)
    raise NotLinked(
        f"No account here is linked to you at {settings.OIDC.name}. If you have one, sign in to it and link it in your "
        "profile. Otherwise the operator can link one (manage.py link_identity), or let everybody have an account "
        f"(OIDC_SIGN_UP). You are {claims['sub']} there."
    )


@transaction.atomic
def link(*, user: User, subject: str) -> SocialAccount:
    """Let `subject` at the provider sign in to the account; raises IntegrityError if it signs in to another one."""
    row, made = SocialAccount.objects.get_or_create(
        provider=settings.OIDC.issuer, uid=subject, defaults={"user": user, "extra_data": {}}
    )
    if not made and row.user_id != user.pk:
        raise IntegrityError(f"{subject} is linked to another account")
    return row


@transaction.atomic
def apply_claims(*, user: User, claims: dict[str, Any]) -> None:
    """Let an account enter and leave the mapped groups, and become staff or be staff no longer."""
    values = groups_in(claims)
    wanted = {settings.OIDC.groups[value] for value in values if value in settings.OIDC.groups}
    managed = set(settings.OIDC.groups.values())
    if managed:
        names = set(user.groups.filter(name__in=managed).values_list("name", flat=True))
        user.groups.remove(*Group.objects.filter(name__in=names - wanted))
        user.groups.add(*(Group.objects.get_or_create(name=name)[0] for name in sorted(wanted - names)))
    is_staff = bool(values & settings.OIDC.staff_groups)
    if settings.OIDC.staff_groups and not user.is_superuser and user.is_staff != is_staff:
        user.is_staff = is_staff
        user.save(update_fields=["is_staff"])
        logger.info("the OpenID provider made %s %s", user.pk, "staff" if is_staff else "staff no longer")


def groups_in(claims: dict[str, Any]) -> set[str]:
    """Return the provider's groups of somebody; the claim may be inside of others (`realm_access.roles`)."""
    path = settings.OIDC.groups_claim
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
    if found is None and "_claim_names" in claims:
        logger.warning("the OpenID provider sent no groups, because somebody is in too many: see docs/sign-in.md")
    values = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return {value for value in values if isinstance(value, str)}


def _by_email(claims: dict[str, Any]) -> User | None:
    """Return the only account with the address that the provider has verified; accounts of staff are linked by hand."""
    email = claims.get("email")
    if not (isinstance(email, str) and email and claims.get("email_verified") is True):
        return None
    found = list(User.objects.filter(email__iexact=email)[:2])
    if len(found) != 1 or any((found[0].is_staff, found[0].is_superuser, found[0].guest_made, found[0].is_service)):
        return None
    return found[0]


def _new_account(claims: dict[str, Any]) -> User:
    email = str(claims["email"]) if claims.get("email_verified") is True and claims.get("email") else ""
    given = [claims.get("preferred_username"), str(claims.get("email") or "").partition("@")[0], claims.get("name")]
    names = [name for name in given if isinstance(name, str) and name]
    numbered = [f"{name}-{number}" for name in names[:1] for number in range(2, NAMES_TRIED)]
    for name in [*names, *numbered]:
        try:
            return register_user(username=name, email=email)
        except ValidationError:
            continue
    raise NotLinked(
        "Your username is taken here. The operator can make an account and link it (manage.py link_identity)."
    )
