"""Finds the account that a command's argument names."""

from __future__ import annotations

from django.core.management.base import CommandError

from accounts.models import User


def find_account(name: str) -> User:
    """Return the account with this username, in any spelling; raises CommandError."""
    user = User.objects.named(name)
    if user is None:
        raise CommandError(f"There is no account {name!r}; create one with: manage.py create_user {name}")
    return user
