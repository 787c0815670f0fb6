"""Rules for changing an account's username and password, and for confirming its deletion.

The rules are the same for every API. A key must not give more access than the API: it cannot change username or
password unless it was created with `may_change_credentials`.
"""

from __future__ import annotations

from accounts.callers import Principal
from accounts.guests import is_shared_guest
from accounts.models import User
from accounts.password_attempts import SIGNED_IN, password_attempt

NOT_ITS_OWN = "That is not this account's username or password."


class CredentialsRefused(Exception):
    """The caller's credentials do not allow this. The message is safe to show."""


class NotConfirmed(Exception):
    """The given username or password does not confirm the deletion."""


def allow_new_credentials(
    principal: Principal, account: User, *, current_password: str = "", new_password: bool = False
) -> None:
    """Raise CredentialsRefused or TooManyAttempts unless the caller may change username or password of `account`."""
    if is_shared_guest(account):
        raise CredentialsRefused("This account is shared by all guests.")
    if principal.is_guest:  # guests share the accounts that guests made
        return
    if not principal.may_change_credentials:
        raise CredentialsRefused(
            "This key cannot change the username or the password. Sign in to do that, or use a key created with "
            "manage.py create_api_key --may-change-credentials."
        )
    if not new_password:
        return
    if account.is_service:
        raise CredentialsRefused("This is a service account: it has no password.")
    if account.is_staff:
        raise CredentialsRefused("Staff accounts are managed in the admin site.")
    if account.has_usable_password():
        with password_attempt(account.username, principal.address, device=SIGNED_IN):
            if not account.check_password(current_password):
                raise CredentialsRefused("'current_password' is not this account's password.")


def confirm_deletion(principal: Principal, account: User, *, username: str | None, password: str | None) -> None:
    """Raise NotConfirmed or TooManyAttempts unless username or password is the account's; staff need the password."""
    if password is not None:
        with password_attempt(account.username, principal.address, device=SIGNED_IN):
            if not account.check_password(password):
                raise NotConfirmed(NOT_ITS_OWN)
    elif account.is_staff:
        raise NotConfirmed("Deleting a staff account takes its password, or the admin site.")
    if (username is None and password is None) or username not in (None, account.username):
        raise NotConfirmed(NOT_ITS_OWN)
