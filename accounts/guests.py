"""The rules for which accounts a caller may name, as a guest or with a credential."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from django.conf import settings

from accounts.access import visible
from accounts.callers import Principal
from accounts.models import AccountQuerySet, User
from accounts.services import GUEST_USERNAMES, guest_user
from accounts.usernames import username_key

UUID_TEXT = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\Z", re.IGNORECASE)
RESERVED = frozenset(map(username_key, GUEST_USERNAMES))


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a new conversation, and the client's own label for the person it is for."""

    user_id: uuid.UUID
    end_user: str = ""


def as_id(text: str) -> uuid.UUID | None:
    """Return `text` as an id, or None when it cannot be one of ours."""
    return uuid.UUID(text) if UUID_TEXT.match(text) else None


def shares_local_space(principal: Principal) -> bool:
    """Tell whether a caller may list: guests may only if guests can only come from this machine."""
    return not principal.is_guest or settings.ANONYMOUS == "auto"


def accounts_of(principal: Principal) -> AccountQuerySet:
    """Return the accounts a caller may use: its own, or for guests those that guests made."""
    made = User.objects.get_queryset().filter(visible(principal, ""))
    if not principal.is_guest:
        return made
    made = made.filter(is_active=True)
    # Every guest learns the shared account's id, so where guests may be strangers it must give access to nothing.
    return made if shares_local_space(principal) else made.exclude(username_key__in=RESERVED)


def account_named(principal: Principal, name: str) -> User | None:
    """Return the account that `name`, an id or a username, means to this caller; None if it is somebody else's."""
    if "\x00" in name or len(name) > 150:
        return None
    accounts = accounts_of(principal)
    pk = as_id(name)
    if pk is not None and (found := accounts.filter(pk=pk).first()):
        return found
    # A name can be guessed, and the response would reveal the id.
    return accounts.named(name) if shares_local_space(principal) else None


def is_shared_guest(user: User) -> bool:
    return user.guest_made and user.pk == guest_user().pk


def owner_for(principal: Principal, user_id: str = "") -> Owner:
    """Return the owner for a body's `user_id`, which never identifies the caller.

    The owner is the caller, or for a guest an account that guests made; any other value is a label.
    """
    if not user_id:
        return Owner(principal.user_id)
    if not principal.is_guest:
        mine = username_key(user_id) == username_key(principal.username) or as_id(user_id) == principal.user_id
        return Owner(principal.user_id, "" if mine else user_id)
    account = account_named(principal, user_id)
    return Owner(account.pk) if account else Owner(principal.user_id, user_id)
