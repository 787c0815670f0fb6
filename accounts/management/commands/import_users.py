"""`manage.py import_users FILE`: make accounts and put them into groups, as the rows of a CSV file say."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from accounts.user_import import Change, State, Taken, UserRow, carry_out, plan, read_user_rows

MAX_REFUSALS = 50  # told at once


class Command(BaseCommand):
    help = (
        "Make accounts, and put them and those that exist into groups, from a CSV file with rows "
        "`name,mail,groups`, groups with `;` between them. Groups that do not exist are made. All rows are checked "
        "before anything is written, and nothing is if one is refused. The same file again changes nothing. "
        "Accounts that are made have no password."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the CSV file, or `-` for stdin")
        parser.add_argument("--dry-run", action="store_true", help="only tell what would change")
        parser.add_argument(
            "--exact", action="store_true", help="take accounts out of all groups that their row does not name"
        )
        parser.add_argument("--no-progress", action="store_true", help="show no progress bar")

    def handle(self, *args: Any, file: str, dry_run: bool, exact: bool, no_progress: bool, **options: Any) -> None:
        rows = self._read(file)
        steps = 1 if dry_run else 2
        # A progress bar only on a terminal; a log or a pipe gets only the lines.
        hidden = True if no_progress else None
        with tqdm(total=steps * len(rows), unit=" rows", disable=hidden, leave=False) as bar:
            changes = plan(rows, exact=exact, advance=bar.update)
            refused = [change for change in changes if change.state == State.REFUSED]
            if not refused and not dry_run:
                try:
                    carry_out(changes, advance=bar.update)
                except Taken as error:
                    raise CommandError(f"Nothing was written. {error}") from error
        self._report(changes, dry_run=dry_run)
        if refused:
            raise CommandError(f"Nothing was written: {len(refused)} rows are refused.")

    @staticmethod
    def _read(file: str) -> list[UserRow | Change]:
        try:
            if file == "-":
                return read_user_rows(sys.stdin)
            with Path(file).open(newline="", encoding="utf-8-sig") as opened:
                return read_user_rows(opened)
        except (OSError, UnicodeError, csv.Error) as error:
            raise CommandError(f"{file} cannot be read: {error}") from error

    def _report(self, changes: list[Change], *, dry_run: bool) -> None:
        refused = [change for change in changes if change.state == State.REFUSED]
        for change in refused[:MAX_REFUSALS]:
            self.stderr.write(str(change))
        if len(refused) > MAX_REFUSALS:
            self.stderr.write("…")
        for change in changes if not refused else ():
            if change.state in (State.MADE, State.CHANGED):
                self.stdout.write(str(change))
        states = Counter(change.state for change in changes)
        told = ", ".join(f"{states[state]} {state}" for state in State)
        self.stdout.write(f"{told}." + (" Nothing was written (--dry-run)." if dry_run else ""))
