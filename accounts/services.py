"""Every write to users and keys."""

from __future__ import annotations

import datetime as dt

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, transaction
from django.utils import timezone

from accounts import keys
from accounts.models import ApiKey, User
from accounts.signals import account_closing, account_deleted, account_deleting, account_emptying, api_key_revoked
from accounts.traces import forget_traces, leave_nothing_behind

MAX_PASSWORD = 4096  # argon2 over more is a way to keep a core busy

GUEST_USERNAME = "guest"
DELETE_TRIES = 3


@transaction.atomic
def register_user(
    *,
    username: str,
    password: str | None = None,
    staff: bool = False,
    superuser: bool = False,
    guest_made: bool = False,
) -> User:
    """Create an account; without a password it can only be used by key.

    Raises django.core.exceptions.ValidationError for a bad or taken name or a weak password.
    """
    user = User(username=username, is_staff=staff or superuser, is_superuser=superuser, guest_made=guest_made)
    if password is None:
        user.set_unusable_password()
    else:
        validate_password(password, user)
        user.set_password(password)
    user.full_clean(exclude=["password"])
    _save(user, force_insert=True)
    return user


@transaction.atomic
def update_user(*, user: User, username: str | None = None, password: str | None = None) -> User:
    """Change name or password, what is None stays; raises ValidationError as register_user does."""
    if username is not None:
        user.username = username
    if password is not None:
        validate_password(password, user)
        user.set_password(password)
    user.full_clean(exclude=["password"])
    _save(user)
    return user


def delete_user(*, user: User) -> None:
    """Delete an account and everything in it, so that nothing of it is left in the database.

    What runs for it is stopped first. What is much goes in slices, each in its own transaction; the
    last one takes what came meanwhile, and the account with it. Until then its keys work: should this
    be interrupted, it can be asked for again. Call it outside of a transaction.
    """
    for left in range(DELETE_TRIES - 1, -1, -1):
        account_closing.send(sender=User, user_id=user.pk)
        try:
            account_emptying.send(sender=User, user_id=user.pk)
            _delete_account(user)
        except (IntegrityError, OperationalError):  # somebody wrote into it, or waited for us as we for them
            if not left:
                raise
        else:
            return


@transaction.atomic
def _delete_account(user: User) -> None:
    # Nothing new can refer to the account from here on: whoever tries waits for this lock, then fails.
    locked = User.objects.select_for_update().filter(pk=user.pk).first()
    if locked is None:
        return
    account_deleting.send(sender=User, user_id=user.pk)
    forget_traces(locked)
    keys_of_user = list(ApiKey.objects.filter(user=user))
    User.objects.filter(pk=user.pk).delete()
    for key in keys_of_user:
        transaction.on_commit(lambda key=key: api_key_revoked.send(sender=ApiKey, key=key))
    transaction.on_commit(lambda: account_deleted.send(sender=User, user_id=user.pk))
    transaction.on_commit(leave_nothing_behind)


def _save(user: User, **how: bool) -> None:
    try:
        with transaction.atomic():
            user.save(**how)
    except IntegrityError as error:  # somebody took the name since it was checked
        taken = ValidationError("A user with that username already exists.", code="unique")
        raise ValidationError({"username": [taken]}) from error


def guest_user() -> User:
    """Return the account that owns what callers without credentials store, making it at first need."""
    user = User.objects.filter(guest_made=True, username=GUEST_USERNAME).first()
    if user is None:
        user, _ = User.objects.get_or_create(
            username=GUEST_USERNAME, defaults={"guest_made": True, "password": "!", "is_active": True}
        )
        if not user.guest_made:  # somebody is really called guest: stand beside, never inside
            user, _ = User.objects.get_or_create(
                username="guest (anonymous)", defaults={"guest_made": True, "password": "!"}
            )
    return user


@transaction.atomic
def issue_api_key(*, user: User, name: str = "", expires_at: dt.datetime | None = None) -> tuple[ApiKey, str]:
    """Create a key and return it with its text, which is nowhere else and cannot be had again."""
    key, text = keys.generate()
    row = ApiKey.objects.create(
        user=user, name=name, kid=key.kid, digest=keys.digest(key.secret), expires_at=expires_at
    )
    return row, text


@transaction.atomic
def revoke_api_key(*, key: ApiKey) -> None:
    """Make a key useless: at once in this process, within KEY_CACHE_SECONDS in the others."""
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
    transaction.on_commit(lambda: api_key_revoked.send(sender=ApiKey, key=key))
