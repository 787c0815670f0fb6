"""System checks of this app: who is admitted, and whether the secrets are those used with this database."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError, connection

from accounts import fingerprints
from accounts.models import SecretFingerprint, User
from accounts.usernames import DUPLICATE_MARK

MIN_PEPPER_CHARS = 32


@register()
def proxies_can_be_counted(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.TRUSTED_PROXIES < 0:
        return [Error("TRUSTED_PROXIES must be a number of proxies: 0 or more.", id="accounts.E002")]
    return []


@register(Tags.database)
def usernames_are_told_apart(app_configs: Any, databases: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report accounts with the same name in different spellings, made before usernames were compared without case."""
    if not databases:
        return []
    try:
        doubles = list(
            User.objects.filter(username_key__contains=DUPLICATE_MARK).values_list("username", flat=True)[:20]
        )
    except DatabaseError:  # the tables do not exist yet
        return []
    if not doubles:
        return []
    return [
        Warning(
            "Accounts whose usernames differ from an older account's only in case or by look-alike characters: "
            f"{', '.join(doubles)}.",
            hint="They work only under exactly that spelling. Rename them in the admin.",
            id="accounts.W007",
        )
    ]


@register(deploy=True)
def proxies_and_https_fit(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report a proxy setup in which redirects loop or users cannot sign in: see docs/proxies.md."""
    found: list[CheckMessage] = []
    if settings.HTTPS and not settings.TRUSTED_PROXIES:
        message = (
            "HTTPS=true without TRUSTED_PROXIES: the service does not speak TLS itself and trusts no proxy that "
            "does, so it redirects every request to https forever."
        )
        found.append(
            Warning(message, hint="Set TRUSTED_PROXIES to the number of proxies, for example 1.", id="accounts.W002")
        )
    if settings.TRUSTED_PROXIES and not settings.HTTPS:
        message = "TRUSTED_PROXIES without HTTPS=true: if clients use https to reach the proxy, nobody can sign in."
        found.append(Warning(message, hint="Set HTTPS=true.", id="accounts.W003"))
    if (settings.TRUSTED_PROXIES or settings.HTTPS) and set(settings.ALLOWED_HOSTS) <= set(settings.LOCAL_NAMES):
        message = (
            "ALLOWED_HOSTS names only this machine: requests that a proxy passes on under another name are refused."
        )
        found.append(Warning(message, hint="Set ALLOWED_HOSTS to the names that clients use.", id="accounts.W004"))
    return found


@register(deploy=True)
def guests_are_limited(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    at_once = settings.LIMIT_RUNS_PER_GUEST or settings.LIMIT_RUNS_PER_IP
    if settings.ANONYMOUS == "on" and not (at_once and settings.LIMIT_GUEST_RUN_STARTS_PER_MINUTE):
        return [Warning("ANONYMOUS=on without limits for guests: anybody can spend your tokens.", id="accounts.W001")]
    return []


@register(Tags.security)
def key_pepper_is_long(**kwargs: Any) -> list[CheckMessage]:
    """Only warn: a short pepper cannot be changed without making every key again."""
    if len(settings.KEY_PEPPER) < MIN_PEPPER_CHARS:
        return [Warning(f"KEY_PEPPER has fewer than {MIN_PEPPER_CHARS} characters.", id="accounts.W005")]
    return []


@register(Tags.database)
def secrets_are_the_databases(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Compare the secrets with those used before: at the start, in `migrate` and `check --database default`."""
    if not databases or SecretFingerprint._meta.db_table not in connection.introspection.table_names():
        return []
    found: list[CheckMessage] = []
    if fingerprints.differs(fingerprints.KEY_PEPPER):
        found.append(Error(fingerprints.WRONG_PEPPER, id="accounts.E003"))
    if fingerprints.differs(fingerprints.SECRET_KEY):
        found.append(
            Warning(
                "SECRET_KEY has changed since the last start: browsers have to sign in again.",
                hint="All processes of a service need the same SECRET_KEY.",
                id="accounts.W006",
            )
        )
    return found
