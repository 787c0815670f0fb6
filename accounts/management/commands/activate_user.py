"""`manage.py activate_user NAME`: reopen an account that was deactivated."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.management.lookup import find_account
from accounts.services import activate_user


class Command(BaseCommand):
    help = "Activate an account again: its keys work as before. The accounts that it created stay as they are."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the account's username")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        user = find_account(name)
        try:
            activate_user(user=user)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stdout.write(f"Activated {user}.")
