"""`manage.py erase_user NAME`: delete an account and everything in it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.management.lookup import find_account
from accounts.services import delete_user


class Command(BaseCommand):
    help = (
        "Delete an account with all its conversations, keys, sessions and other data. Running answers are stopped. "
        "This cannot be undone. Backups are not touched: delete those yourself."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the account's username")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def handle(self, *args: Any, name: str, yes: bool, **options: Any) -> None:
        user = find_account(name)
        if not yes and input(f"Type the username again to delete {name!r} with all its data: ") != name:
            raise CommandError("Nothing was deleted.")
        delete_user(user=user)
        self.stdout.write("Erased.")
