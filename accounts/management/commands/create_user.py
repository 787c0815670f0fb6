"""`manage.py create_user NAME [--password P | --service] [--staff]`: create an account; `--from FILE`: many at once."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any, TextIO

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.bulk import BadRows, Created, create_accounts, read_rows
from accounts.services import register_user

COLUMNS = ("username", "id", "password", "key")


class Command(BaseCommand):
    help = (
        "Create an account or, with --from, all accounts in a CSV file (all or none). An account without a "
        "password can only be used with a key."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="the account's username")
        parser.add_argument("--password")
        parser.add_argument("--staff", action="store_true", help="may sign in to the admin, with all permissions")
        parser.add_argument(
            "--service", action="store_true", help="a service account: nobody signs in as it, it has only keys"
        )
        parser.add_argument(
            "--from",
            dest="source",
            metavar="FILE",
            help="CSV file with rows `username[,email[,password]]`, or `-` for stdin; for the password `-` one is "
            "generated. Prints CSV: username,id,password,key, with the password only if it was generated",
        )
        parser.add_argument("--keys", action="store_true", help="with --from: print a key for each account")
        parser.add_argument(
            "--skip-existing", action="store_true", help="with --from: skip accounts that exist already"
        )

    def handle(
        self,
        *args: Any,
        name: Any,
        password: str | None,
        staff: bool,
        service: bool,
        source: str | None,
        keys: bool,
        skip_existing: bool,
        **options: Any,
    ) -> None:
        if (name is None) == (source is None):
            raise CommandError("Give one username, or many with --from FILE.")
        if source is not None:
            if password is not None or staff or service:
                raise CommandError("--password, --staff and --service are only for a single account.")
            self._create_many(source, keys=keys, skip_existing=skip_existing)
            return
        if keys or skip_existing:
            raise CommandError("--keys and --skip-existing are only for --from.")
        if service and (password is not None or staff):
            raise CommandError("Nobody signs in as a service account: it has no password and is not staff.")
        try:
            user = register_user(username=name, password=password, superuser=staff, service=service)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        kind = "staff account" if staff else "service account" if service else "account"
        self.stdout.write(f"Created {kind} {user.username} ({user.id}).")

    def _create_many(self, source: str, *, keys: bool, skip_existing: bool) -> None:
        try:
            if source == "-":
                created, skipped = self._create(sys.stdin, keys, skip_existing)
            else:
                with Path(source).open(newline="", encoding="utf-8-sig") as file:
                    created, skipped = self._create(file, keys, skip_existing)
        except (OSError, UnicodeError, csv.Error) as error:
            raise CommandError(f"{source} cannot be read: {error}") from error
        except BadRows as error:
            raise CommandError("Nothing was created.\n" + "\n".join(error.problems)) from error
        table = csv.writer(self.stdout, lineterminator="\n")
        table.writerow(COLUMNS)
        for each in created:
            table.writerow((each.user.username, each.user.pk, each.password, each.key))
        for username in skipped:
            self.stderr.write(f"{username} exists already.")

    @staticmethod
    def _create(file: TextIO, keys: bool, skip_existing: bool) -> tuple[list[Created], list[str]]:
        return create_accounts(read_rows(file), keys=keys, skip_existing=skip_existing)
