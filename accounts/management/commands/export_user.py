"""`manage.py export_user NAME`: everything that is stored of an account, a line of JSON a row."""

from __future__ import annotations

import sys

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.personal_data import export_account


class Command(BaseCommand):
    help = "Write everything that is stored of an account to stdout, a line of JSON a row; passwords and keys excepted."

    def add_arguments(self, parser):
        parser.add_argument("name", help="the account's username")

    def handle(self, *args, name: str, **options) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no account {name!r}.")
        try:
            for line in export_account(user):
                self.stdout.write(line, ending="")
        except BrokenPipeError:  # `| head`
            sys.stdout = None  # type: ignore[assignment]  # or Python fails once more when it flushes it at the end
