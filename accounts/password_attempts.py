"""Slows down guessing passwords, from one address or from many, without locking any owner out.

Every place that checks a password asks here first:

- By address: LIMIT_AUTH_FAILURES_PER_MINUTE wrong ones a minute.
- By account, from any address: after LIMIT_PASSWORD_FAILURES wrong ones in a row each try waits, 1 s, then 2, 4, …
  at most MAX_DELAY. A name that nobody has is treated the same, so the wait does not tell who exists.

A browser that signed in to the account before is exempt from both limits, and so is a user who is already signed in:
others' failures must not keep an owner out. Each of these has a delay of its own. (A cookie identifies the browser, as
in OWASP's "Slow Down Online Guessing Attacks with Device Cookies".) Right passwords are not counted.
"""

from __future__ import annotations

import datetime as dt
import math
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.core import signing
from django.db import connection, transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.addresses import address_key, shortened_address
from accounts.models import FailedSignIn, PasswordDelay, User
from accounts.throttling import HOUR, RateLimited, count, give_back
from accounts.usernames import username_key
from foundation.database import database_clock

MAX_DELAY = 30  # seconds
DOUBLINGS = 5  # 1, 2, 4, 8, 16, then MAX_DELAY
DELAYS_KEPT = HOUR
FAILURES_KEPT = dt.timedelta(days=90)
MAX_NETWORKS = 20
ELSEWHERE = "elsewhere"
SIGNED_IN = "signed in"
"""The `device` of callers who already have a key or a session of the account."""

COOKIE = "chat_device"
COOKIE_SECONDS = 365 * 24 * HOUR
MAX_ACCOUNTS = 5  # for which a browser is remembered
_SALT = "accounts.password_attempts"

_DELAYS, _FAILURES = PasswordDelay._meta.db_table, FailedSignIn._meta.db_table


class TooManyAttempts(RateLimited):
    """The password was not checked: it may be tried again in `retry_after` seconds."""


@contextmanager
def password_attempt(username: str, address: str, *, device: str = "") -> Iterator[None]:
    """Apply the limits to the block, which checks a password and raises if it is wrong; raises TooManyAttempts.

    An attempt counts as a failure until the block has succeeded, so that parallel attempts cannot evade the limits.
    """
    account = account_hash(username)
    by_address = "" if device else f"signin:{address_key(address)}"
    with transaction.atomic():  # a refusal takes back what was counted for it
        _count_address(by_address)
        _count_account(account, device)
    try:
        yield
    except Exception:
        _note_failure(account, device, username, address)
        raise
    with transaction.atomic():
        PasswordDelay.objects.filter(account=account, device=device).delete()
        if by_address:
            with connection.cursor() as cursor:
                give_back(cursor, by_address)


def account_hash(username: str) -> str:
    """Return the hash under which a name is counted: not the name, because people sometimes type a password there."""
    return salted_hmac(_SALT, username_key(username), algorithm="sha256").hexdigest()


def delays_of(user: User) -> Iterator[PasswordDelay]:
    yield from PasswordDelay.objects.filter(account=account_hash(user.username))


def device_in(cookie: str, username: str) -> str:
    """Return the name of a browser that signed in to the account before, from its cookie; '' for any other."""
    return dict(_accounts_in(cookie)).get(account_hash(username), "")


def cookie_for(cookie: str, username: str) -> str:
    """Return the cookie for a browser that has just signed in; the browser stays known to its other accounts."""
    account = account_hash(username)
    others = [[name, device] for name, device in _accounts_in(cookie) if name != account]
    known = [[account, secrets.token_hex(16)], *others][:MAX_ACCOUNTS]
    return signing.dumps(known, salt=_SALT)


def forget_delays() -> int:
    """Delete delays that ended an hour ago, and old failures that nobody saw; returns how many.

    This bounds the table, whatever names are typed: each row costs a check of a password, which is limited per address.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {_DELAYS} WHERE until < {database_clock()} - {DELAYS_KEPT}")  # noqa: S608
        dropped: int = cursor.rowcount
    return dropped + FailedSignIn.objects.filter(last_at__lt=timezone.now() - FAILURES_KEPT).delete()[0]


def _accounts_in(cookie: str) -> list[tuple[str, str]]:
    try:
        known = signing.loads(cookie, salt=_SALT, max_age=COOKIE_SECONDS) if cookie else []
    except signing.BadSignature:
        return []
    return [(account, device) for account, device in known]


def _count_address(key: str) -> None:
    limit = settings.LIMIT_AUTH_FAILURES_PER_MINUTE
    if not (key and limit):
        return
    with connection.cursor() as cursor:
        used, wait = count(cursor, key)
    if used > limit:
        message = (
            f"Too many attempts from this address: at most {limit} wrong passwords a minute "
            f"(LIMIT_AUTH_FAILURES_PER_MINUTE). Try again in {wait} seconds."
        )
        raise TooManyAttempts(message, retry_after=wait)


def _count_account(account: str, device: str) -> None:
    free = settings.LIMIT_PASSWORD_FAILURES
    if not free:
        return
    clock, failures = database_clock(), f"{_DELAYS}.failures + 1"
    delay = (
        f"CASE WHEN {failures} < {free} THEN 0 WHEN {failures} >= {free + DOUBLINGS} THEN {MAX_DELAY} "
        f"ELSE 1 << ({failures} - {free}) END"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {_DELAYS} (account, device, failures, until) "  # noqa: S608  numbers of ours only
            f"VALUES (%s, %s, 1, {clock} + {1 if free == 1 else 0}) "
            f"ON CONFLICT (account, device) DO UPDATE SET failures = {failures}, until = {clock} + {delay} "
            f"WHERE {_DELAYS}.until <= {clock} RETURNING failures",
            [account, device],
        )
        if cursor.fetchone() is not None:
            return
        cursor.execute(
            f"SELECT until - {clock} FROM {_DELAYS} WHERE account = %s AND device = %s",  # noqa: S608
            [account, device],
        )
        row = cursor.fetchone()  # no row, if the owner has signed in since
        wait = max(1, math.ceil(row[0])) if row else 1
    message = (
        f"Too many attempts for this account: after {free} wrong passwords each further attempt has to wait "
        f"(LIMIT_PASSWORD_FAILURES). Try again in {wait} seconds."
    )
    raise TooManyAttempts(message, retry_after=wait)


def _note_failure(account: str, device: str, username: str, address: str) -> None:
    """Record the failure for the account's owner. Writes even if there is no such account.

    The time it takes must not reveal whether the account exists.
    """
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    network = shortened_address(address)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_DELAYS} SET until = until WHERE account = %s AND device = %s",  # noqa: S608
            [account, device],
        )
        cursor.execute(
            f"INSERT INTO {_FAILURES} (user_id, network, is_reported, attempts, first_at, last_at) "  # noqa: S608
            f"SELECT id, CASE WHEN (SELECT count(*) FROM {_FAILURES} WHERE user_id = u.id) < {MAX_NETWORKS} "
            f"THEN %s ELSE '{ELSEWHERE}' END, %s, 1, %s, %s FROM {User._meta.db_table} u WHERE username_key = %s "
            f"ON CONFLICT (user_id, network, is_reported) DO UPDATE SET attempts = {_FAILURES}.attempts + 1, "
            "last_at = excluded.last_at",
            [network, False, now, now, username_key(username)],
        )


def _report(sender: object, user: User, **kwargs: object) -> None:
    """Delete the failures that the last sign-in could show; newer ones are shown until the next sign-in."""
    failures = FailedSignIn.objects.filter(user=user)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # two concurrent sign-ins would report the same network twice
        failures.filter(is_reported=True).delete()
        failures.update(is_reported=True)


user_logged_in.connect(_report)
