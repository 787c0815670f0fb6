"""Who may make accounts over an API (the setting REGISTRATION), and how often."""

from __future__ import annotations

from django.conf import settings

from accounts.callers import NotAdmitted, Principal
from accounts.models import User
from accounts.services import MakerInactive, guest_user, register_user
from accounts.throttling import enforce_for

LOCAL, KEYS, OFF = "local", "keys", "off"
CLOSED = "Accounts cannot be created here: the setting REGISTRATION is '{}'. Staff can create them."


class RegistrationClosed(Exception):
    """REGISTRATION does not allow this caller to make accounts. The message names the setting."""


def may_register(principal: Principal) -> bool:
    """Tell whether REGISTRATION admits a caller: local guests, callers with a key or a session, or nobody."""
    if principal.is_guest:
        return settings.REGISTRATION == LOCAL and principal.is_local
    return settings.REGISTRATION == KEYS


def register_for(principal: Principal, *, username: str, password: str) -> User:
    """Create an account for which its maker answers.

    Raises RegistrationClosed, RateLimited, NotAdmitted, and ValidationError as register_user does.
    """
    if not may_register(principal):
        raise RegistrationClosed(CLOSED.format(settings.REGISTRATION))
    count_name_tried(principal)
    maker = guest_user() if principal.is_guest else User.objects.get(pk=principal.user_id)
    try:
        return register_user(username=username, password=password, guest_made=maker.guest_made, created_by=maker)
    except MakerInactive as error:
        raise NotAdmitted("This account is no longer active.") from error


def count_name_tried(principal: Principal) -> None:
    """Count a request for a username, granted or not, because the response reveals whether the name exists.

    Raises RateLimited beyond LIMIT_NEW_USERS_PER_MINUTE.
    """
    enforce_for(principal, "users", "LIMIT_NEW_USERS_PER_MINUTE", "new accounts and usernames")
