"""`manage.py deactivate_user NAME`: close an account, and end everything that runs for it; nothing is deleted."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.management.lookup import find_account
from accounts.services import deactivate_users, stop_user


class Command(BaseCommand):
    help = (
        "Deactivate an account and those that it created: keys and sessions stop working; running answers, streams "
        "and sockets end within a second in every process. Nothing is deleted; activate_user activates an account "
        "again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the account's username")
        parser.add_argument("--only-stop", action="store_true", help="stop its activity, but leave it active")

    def handle(self, *args: Any, name: str, only_stop: bool, **options: Any) -> None:
        user = find_account(name)
        if only_stop:
            stop_user(user=user)
            self.stdout.write(f"All activity of {user} ends.")
            return
        for closed in deactivate_users(users=[user]):
            self.stdout.write(f"Deactivated {closed}.")
