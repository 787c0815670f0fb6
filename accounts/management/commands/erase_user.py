"""`manage.py erase_user NAME`: an account and everything in it, gone."""

from __future__ import annotations

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.services import delete_user


class Command(BaseCommand):
    help = (
        "Delete an account with all conversations, keys, sessions and whatever else it has. Running answers are "
        "stopped. There is no way back; backups that you made are yours to delete."
    )

    def add_arguments(self, parser):
        parser.add_argument("name", help="the account's username")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args, name: str, yes: bool, **options) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no account {name!r}.")
        if not yes and input(f"Type the name again to erase {name!r} and everything in it: ") != name:
            raise CommandError("Nothing was erased.")
        delete_user(user=user)
        self.stdout.write("Erased.")
