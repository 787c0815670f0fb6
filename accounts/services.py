"""Every write to users and keys."""

from __future__ import annotations

import datetime as dt
import math
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import IntegrityError, OperationalError, transaction
from django.utils import timezone

from accounts import keys
from accounts.erasing import claim, claim_any, held_by, release
from accounts.erasure import delete_sessions, erase_personal_data, truncate_write_ahead_log
from accounts.fingerprints import confirm_key_pepper
from accounts.models import AccountErasure, ApiKey, User
from accounts.signals import (
    account_anonymizing,
    account_closing,
    account_deleted,
    account_deleting,
    account_emptying,
    accounts_stopped,
    accounts_stopping,
    api_key_revoked,
)
from accounts.usernames import NOT_AVAILABLE, username_key

MAX_PASSWORD = 4096  # more argon2 hashes at once would keep a core busy

GUEST_USERNAMES = ("guest", "guest (anonymous)")  # the second name is used if a person's account is called guest
DELETE_TRIES = 3
STEP_SECONDS = 1.0
CLAIM_POLL = 0.1
ERASE_SECONDS = 10.0
"""How long a request waits for an erasure; that of a large account goes on after the response."""


class MakerInactive(Exception):
    """The account that creates another one was deactivated or erased meanwhile."""


@transaction.atomic
def register_user(
    *,
    username: str,
    password: str | None = None,
    email: str = "",
    staff: bool = False,
    superuser: bool = False,
    service: bool = False,
    guest_made: bool = False,
    created_by: User | None = None,
) -> User:
    """Create an account; without a password it can only be used by key.

    An account that is `created_by` somebody who is not staff shares their limits, and is deactivated with them. Raises
    django.core.exceptions.ValidationError for a bad or taken name or a weak password, and MakerInactive.
    """
    user = new_user(
        username=username,
        password=password,
        email=email,
        is_staff=staff or superuser,
        is_superuser=superuser,
        is_service=service,
        guest_made=guest_made,
    )
    if created_by is not None:
        # Locked, so that this and a concurrent deactivation of the maker wait for each other.
        maker = User.objects.select_for_update(no_key=True).filter(pk=created_by.pk, is_active=True).first()
        if maker is None:
            raise MakerInactive
        user.created_by = maker
        user.limits_owner_id = None if maker.is_staff else maker.limits_owner_id or maker.pk
    validate_user(user)
    _save(user, force_insert=True)
    return user


def new_user(*, username: str, password: str | None, **fields: Any) -> User:
    """Return an account that is not stored yet; raises ValidationError for a weak password.

    The password is hashed before the name is looked up, so that the time taken does not reveal whether the name is
    taken.
    """
    user = User(username=User.normalize_username(username), **fields)
    if password is None:
        user.set_unusable_password()
    else:
        validate_password(password, user)
        user.set_password(password)
    return user


def validate_user(user: User) -> None:
    """Raise ValidationError if the name is bad or taken, or the e-mail address is invalid."""
    user.full_clean(exclude=["password", "username_key"])


@transaction.atomic
def update_user(*, user: User, username: str | None = None, password: str | None = None) -> User:
    """Change name or password (None leaves it unchanged); raises ValidationError as register_user does."""
    if password is not None:
        validate_password(password, user)
        user.set_password(password)
    if username is not None:
        user.username = User.normalize_username(username)
    validate_user(user)
    _save(user)
    return user


def set_preferred_model(*, user_id: uuid.UUID, model: str | None) -> None:
    """Choose what new chats begin with on the page; None is the service's default."""
    User.objects.filter(pk=user_id).update(preferred_model=model)


def set_default_generation(*, user_id: uuid.UUID, generation: dict[str, Any] | None) -> None:
    """Store the checked instructions and parameters that new conversations begin with; None for nothing."""
    User.objects.filter(pk=user_id).update(default_generation=generation)


@transaction.atomic
def stop_user(*, user: User) -> None:
    """End what runs for an account in every process: answers, streams, sockets. It may start new ones at once."""
    _stop([user.pk])


@transaction.atomic
def deactivate_users(*, users: Sequence[User]) -> list[User]:
    """Close accounts and those that they answer for, and end what runs for them; returns all of them.

    Keys and sessions stop working. Reopening is a decision for each account.
    """
    return _deactivate(accounts_closed_with(users))


def accounts_closed_with(users: Sequence[User]) -> list[User]:
    """Return these accounts and those that are deactivated with them."""
    found = {user.pk: user for user in users}
    made = {user.pk: user for user in _made_by(list(found))}
    return list((found | made).values())


@transaction.atomic
def make_service_accounts(*, users: Sequence[User]) -> None:
    """Let nobody sign in as these accounts any more: their passwords and sessions end, their keys keep working.

    Raises ValidationError if one of them is staff.
    """
    for user in users:
        user.is_service = True
        user.set_unusable_password()
        validate_user(user)
        user.save(update_fields=["is_service", "password"])
    delete_sessions([user.pk for user in users])


def activate_user(*, user: User) -> None:
    """Reopen an account: its keys work as before, but browsers have to sign in again.

    Raises ValidationError if it is being erased.
    """
    if AccountErasure.objects.filter(user=user).exists():
        raise ValidationError("This account is being erased.")
    user.is_active = True
    user.save(update_fields=["is_active"])


def _made_by(ids: list[uuid.UUID]) -> list[User]:
    """Return the accounts these answer for, the accounts that those made, and so on; staff accounts are left out."""
    found: list[User] = []
    while ids:
        made = list(
            User.objects.filter(created_by__in=ids, is_staff=False)
            .exclude(limits_owner=None)
            .select_related("created_by")
        )
        found += made
        ids = [user.pk for user in made]
    return found


def _deactivate(users: list[User]) -> list[User]:
    """Close these accounts and those that one of them is making at the moment; returns all of them."""
    if not users:
        return []
    ids = [user.pk for user in users]
    User.objects.filter(pk__in=ids).update(is_active=False)
    for user in users:
        user.is_active = False
    delete_sessions(ids)
    _stop(ids)
    # An account that was being made held its maker's row, so it exists by now; later ones find the maker closed.
    return [*users, *_deactivate([made for made in _made_by(ids) if made.is_active])]


def _stop(ids: list[uuid.UUID]) -> None:
    User.objects.filter(pk__in=ids).update(stopped_at=timezone.now())
    accounts_stopping.send(sender=User, user_ids=ids)
    transaction.on_commit(lambda: accounts_stopped.send(sender=User, user_ids=ids))


def delete_user(*, user: User, seconds: float | None = None) -> bool:
    """Make an account unusable at once, and delete it with everything in it; returns whether nothing of it is left.

    What takes longer than `seconds` is left to the sweep of any process (`erase_some`), which also goes on where a
    process died. Call it outside of a transaction. Accounts that it made and answered for are deactivated, because
    nobody answers for them any more.
    """
    until = time.monotonic() + (math.inf if seconds is None else seconds)
    _again(lambda: _begin_erasure(user.pk))
    while AccountErasure.objects.filter(user=user.pk).exists():
        if claim(user.pk):
            _take_step(user.pk)
        else:
            time.sleep(CLAIM_POLL)  # another process takes a step
        if time.monotonic() > until:
            break
    return not User.objects.filter(pk=user.pk).exists()


def erase_some() -> bool:
    """Take a step of an account's erasure, if there is one on which nobody works; returns whether there was."""
    user_id = claim_any()
    if user_id is not None:
        _take_step(user_id)
    return user_id is not None


@transaction.atomic
def _begin_erasure(user_id: uuid.UUID) -> None:
    locked = User.objects.select_for_update().filter(pk=user_id).first()
    if locked is None or AccountErasure.objects.filter(user=user_id).exists():
        return
    _deactivate([locked, *_made_by([user_id])])
    erase_personal_data(locked)
    AccountErasure.objects.create(user=locked, total=held_by(user_id))
    # Whose it was, is forgotten now, and the name is free. Nobody's: guests do not see it any more, either.
    name = f"erased-{user_id.hex}"
    nobody = {"email": "", "first_name": "", "last_name": "", "guest_made": False, "password": "!"}
    User.objects.filter(pk=user_id).update(username=name, username_key=name, default_generation=None, **nobody)


def _take_step(user_id: uuid.UUID) -> None:
    """Delete for STEP_SECONDS what an account holds, or the account if nothing is left."""
    until = time.monotonic() + STEP_SECONDS

    def step() -> None:
        account_closing.send(sender=User, user_id=user_id)
        if AccountErasure.objects.filter(user=user_id, is_log_anonymous=False).exists():
            account_anonymizing.send(sender=User, user_id=user_id)
            AccountErasure.objects.filter(user=user_id).update(is_log_anonymous=True)
        if not any(is_left for _, is_left in account_emptying.send(sender=User, user_id=user_id, until=until)):
            _delete_account(user_id)

    _again(step)
    release(user_id)  # after a failure the claim expires instead, and other erasures come first


def _again(act: Callable[[], None]) -> None:
    """Act, again after a concurrent write into the account, or a deadlock with one."""
    for left in range(DELETE_TRIES - 1, -1, -1):
        try:
            act()
        except (IntegrityError, OperationalError):
            if not left:
                raise
        else:
            return


@transaction.atomic
def _delete_account(user_id: uuid.UUID) -> None:
    # From here on nothing new can refer to the account: another writer waits for this lock, then fails.
    locked = User.objects.select_for_update().filter(pk=user_id).first()
    if locked is None:
        return
    _deactivate(_made_by([user_id]))  # made since then
    account_deleting.send(sender=User, user_id=user_id)
    erase_personal_data(locked)
    keys_of_user = list(ApiKey.objects.filter(user=locked))
    User.objects.filter(pk=user_id).delete()
    for key in keys_of_user:
        transaction.on_commit(partial(api_key_revoked.send, sender=ApiKey, key=key))
    transaction.on_commit(lambda: account_deleted.send(sender=User, user_id=user_id))
    transaction.on_commit(truncate_write_ahead_log)


def _save(user: User, **how: bool) -> None:
    try:
        with transaction.atomic():
            user.save(**how)
    except IntegrityError as error:  # somebody took the name after it was checked
        taken = ValidationError(NOT_AVAILABLE, code="unique")
        raise ValidationError({"username": [taken]}) from error


def guest_user() -> User:
    """Return the account that owns what callers without credentials store; creates it when first needed."""
    for username in GUEST_USERNAMES:
        user = User.objects.named(username)
        if user is None:
            made = {"username": username, "guest_made": True, "password": "!"}
            user, _ = User.objects.get_or_create(username_key=username_key(username), defaults=made)
        if user.guest_made:
            return user
    # Both names belong to people's accounts, which guests must not share.
    raise ImproperlyConfigured(
        f"Rename one of the accounts {' and '.join(GUEST_USERNAMES)}: the account of all guests needs its name."
    )


@transaction.atomic
def issue_api_key(
    *,
    user: User,
    name: str = "",
    expires_at: dt.datetime | None = None,
    may_change_credentials: bool = False,
    issued_by_id: uuid.UUID | None = None,
    replaces_id: uuid.UUID | None = None,
    scopes: Sequence[str] | None = None,
    networks: Sequence[str] | None = None,
) -> tuple[ApiKey, str]:
    """Create a key and return it with its text, which is not stored and cannot be shown again.

    Without `scopes` it has all of them, without `networks` it works from anywhere.
    """
    confirm_key_pepper()
    key, text = keys.generate()
    row = ApiKey.objects.create(
        user=user,
        name=name,
        kid=key.kid,
        digest=keys.digest(key.secret),
        expires_at=expires_at,
        may_change_credentials=may_change_credentials,
        issued_by_id=issued_by_id,
        replaces_id=replaces_id,
        scopes=None if scopes is None else list(scopes),
        networks=list(networks) if networks else None,
    )
    return row, text


@transaction.atomic
def revoke_api_key(*, key: ApiKey) -> None:
    """Make a key and the keys it made useless: immediately in this process, within KEY_CACHE_SECONDS in the others."""
    now = timezone.now()
    # The lock waits for a request that is creating a key with this one: that key is found below. Later ones are
    # refused.
    ids = list(ApiKey.objects.select_for_update().filter(pk=key.pk).values_list("pk", flat=True))
    key.revoked_at = key.revoked_at or now
    while ids:
        ApiKey.objects.filter(pk__in=ids, revoked_at=None).update(revoked_at=now)
        for each in ApiKey.objects.filter(pk__in=ids):
            transaction.on_commit(partial(api_key_revoked.send, sender=ApiKey, key=each))
        ids = list(ApiKey.objects.filter(issued_by__in=ids).values_list("pk", flat=True))
