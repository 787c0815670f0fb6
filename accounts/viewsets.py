"""Accounts over REST, whatever the wire: which ones a caller reaches, and what may be done with them.

No serializer and no route: dialects bring those.
"""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404
from rest_framework import viewsets
from rest_framework.exceptions import PermissionDenied, Throttled

from accounts import services, throttling
from accounts.guests import RESERVED, account_named, accounts_of, is_shared_guest, shares_local_space
from accounts.models import User
from accounts.principal import Principal


class NameTaken(Exception):
    """The username belongs to somebody."""


class AccountViewSet(viewsets.GenericViewSet):
    """The caller's own account, or for guests the ones that guests made. Staff see others in the admin only."""

    lookup_url_kwarg = "name"

    @property
    def principal(self) -> Principal:
        return self.request.user

    def get_queryset(self) -> QuerySet[User]:
        """Return what a list may show: the account that all guests share was made by none of them."""
        if not shares_local_space(self.principal):
            raise PermissionDenied("Without a key you find what you know the id of; lists need a key.")
        accounts = accounts_of(self.principal).order_by("id")
        return accounts.exclude(username__in=RESERVED) if self.principal.is_guest else accounts

    def get_object(self) -> User:
        account = account_named(self.principal, self.kwargs[self.lookup_url_kwarg])
        if account is None:
            raise Http404
        return account

    def register(self, *, username: str, password: str) -> User:
        """Create an account, a guest's when a guest asks; raises NameTaken."""
        address = self.principal.address
        if wait := throttling.hit(f"users:{address}", limit=settings.LIMIT_NEW_USERS_PER_MINUTE):
            raise Throttled(wait=wait)
        if username in RESERVED:
            raise NameTaken
        try:
            return services.register_user(username=username, password=password, guest_made=self.principal.is_guest)
        except ValidationError as error:
            raise _taken_or(error) from error

    def change(self, account: User, *, username: str | None, password: str | None, current_password: str = "") -> User:
        """Change name or password; raises NameTaken, PermissionDenied or ValidationError."""
        self.refuse_shared(account)
        if password is not None:
            self._allow_new_password(account, current_password)
        if username in RESERVED:
            raise NameTaken
        try:
            return services.update_user(user=account, username=username, password=password)
        except ValidationError as error:
            raise _taken_or(error) from error

    def refuse_shared(self, account: User) -> None:
        if is_shared_guest(account):
            raise PermissionDenied("This account is shared by all guests.")

    def refuse_staff(self, account: User) -> None:
        """A key opens the API; it must not grow into the admin site, nor empty it."""
        if account.is_staff:
            raise PermissionDenied("Staff accounts are managed in the admin site.")

    def _allow_new_password(self, account: User, current_password: str) -> None:
        self.refuse_staff(account)
        if account.guest_made or not account.has_usable_password():
            return
        limit = settings.LIMIT_AUTH_FAILURES_PER_MINUTE
        if not account.check_password(current_password):
            if wait := throttling.hit(f"auth:{self.principal.address}", limit=limit):
                raise Throttled(wait=wait)
            raise PermissionDenied("'current_password' is not this account's password.")


def _taken_or(error: ValidationError) -> Exception:
    if not hasattr(error, "error_dict"):  # the password's validators speak without a field
        return ValidationError({"password": error.messages})
    codes = {each.code for each in error.error_dict.get("username", [])}
    return NameTaken() if "unique" in codes else error
