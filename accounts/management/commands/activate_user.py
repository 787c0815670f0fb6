"""`manage.py activate_user NAME`: open an account again that was deactivated."""

from __future__ import annotations

from django.core.management.base import BaseCommand

from accounts.management.lookup import find_account
from accounts.services import activate_user


class Command(BaseCommand):
    help = "Activate an account again: its keys work as before. The accounts that it created stay as they are."

    def add_arguments(self, parser):
        parser.add_argument("name", help="the account's username")

    def handle(self, *args, name: str, **options) -> None:
        user = find_account(name)
        activate_user(user=user)
        self.stdout.write(f"Activated {user}.")
