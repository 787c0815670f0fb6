"""`manage.py export_user NAME`: write everything stored about an account, one line of JSON per row."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.management.lookup import find_account
from accounts.personal_data import export_account


class Command(BaseCommand):
    help = "Write everything stored about an account to stdout, one JSON object per line, without passwords and keys."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the account's username")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        user = find_account(name)
        try:
            for line in export_account(user):
                self.stdout.write(line, ending="")
        except BrokenPipeError:  # `| head`
            sys.stdout = None  # otherwise Python would raise again when it flushes stdout at exit
