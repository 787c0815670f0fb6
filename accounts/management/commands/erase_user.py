"""`manage.py erase_user NAME`: delete an account and everything in it; without a name, tell how far erasures are."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from accounts.admin_erasures import shown_progress
from accounts.erasing import held_by
from accounts.management.lookup import find_account
from accounts.models import AccountErasure
from accounts.services import delete_user


class Command(BaseCommand):
    help = (
        "Delete an account with all its conversations, keys, sessions and other data. It cannot be used from the first "
        "moment; if the command is interrupted, the service goes on. Running answers are stopped. This cannot be "
        "undone. Backups are not touched: delete those yourself. Without a name: list what is being erased."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="the account's username")
        parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    def handle(self, *args: Any, name: str | None, yes: bool, **options: Any) -> None:
        if name is None:
            for erasure in AccountErasure.objects.order_by("requested_at"):
                requested = f"{erasure.requested_at:%Y-%m-%d %H:%M}"
                self.stdout.write(f"{erasure}, requested {requested}: {shown_progress(erasure)}")
            return
        user = find_account(name)
        if not yes and input(f"Type the username again to delete {name!r} with all its data: ") != name:
            raise CommandError("Nothing was deleted.")
        with tqdm(total=held_by(user.pk), file=sys.stderr, disable=None) as bar:
            while not delete_user(user=user, seconds=1):
                bar.update(bar.total - held_by(user.pk) - bar.n)
        self.stdout.write("Erased.")
