"""Accounts over REST, independent of the wire: which accounts a caller can reach, and what it can do with them.

Dialects add serializers and routes.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404
from rest_framework import viewsets
from rest_framework.exceptions import PermissionDenied

from accounts import services
from accounts.callers import Principal
from accounts.credential_changes import allow_new_credentials, confirm_deletion
from accounts.guests import RESERVED, account_named, accounts_of, is_shared_guest, shares_local_space
from accounts.models import User
from accounts.registration import count_name_tried, register_for


class NameTaken(Exception):
    """The username already belongs to somebody."""


class AccountViewSet(viewsets.GenericViewSet[Any]):
    """The caller's own account, or for guests those that guests made. Staff see other accounts only in the admin."""

    lookup_url_kwarg = "name"

    @property
    def principal(self) -> Principal:
        return self.request.user  # type: ignore[return-value]  # see PrincipalAuthentication

    def get_queryset(self) -> QuerySet[User]:
        """Return the accounts in a list: without the account that all guests share, which none of them made."""
        if not shares_local_space(self.principal):
            raise PermissionDenied("Without a key you can only open things by their id; lists need a key.")
        accounts = accounts_of(self.principal).order_by("id")
        return accounts.exclude(username_key__in=RESERVED) if self.principal.is_guest else accounts

    def get_object(self) -> User:
        account = account_named(self.principal, self.kwargs[self.lookup_url_kwarg])
        if account is None:
            raise Http404
        return account

    def register(self, *, username: str, password: str) -> User:
        """Create an account for which the caller answers; raises NameTaken and the errors of register_for."""
        try:
            return register_for(self.principal, username=username, password=password)
        except ValidationError as error:
            raise _taken_or(error) from error

    def change(self, account: User, *, username: str | None, password: str | None, current_password: str = "") -> User:
        """Change name or password; raises NameTaken, ValidationError and the errors of allow_new_credentials."""
        allow_new_credentials(
            self.principal, account, current_password=current_password, new_password=password is not None
        )
        if username is not None:
            count_name_tried(self.principal)
        try:
            return services.update_user(user=account, username=username, password=password)
        except ValidationError as error:
            raise _taken_or(error) from error

    def get_deletable(self) -> User:
        """Return the account in the path; raises PermissionDenied if no API may delete it."""
        account = self.get_object()
        if is_shared_guest(account):
            raise PermissionDenied("This account is shared by all guests.")
        if account.is_staff:  # a key gives access to the API; it must not be able to delete the admin's accounts
            raise PermissionDenied("Staff accounts are managed in the admin site.")
        return account

    def erase(self, account: User, *, username: str | None, password: str | None) -> None:
        """Delete an account and everything in it; raises NotConfirmed and TooManyAttempts."""
        confirm_deletion(self.principal, account, username=username, password=password)
        services.delete_user(user=account, seconds=services.ERASE_SECONDS)


def _taken_or(error: ValidationError) -> Exception:
    if not hasattr(error, "error_dict"):  # the password validators' errors have no field
        return ValidationError({"password": error.messages})
    codes = {each.code for each in error.error_dict.get("username", [])}
    return NameTaken() if "unique" in codes else error
