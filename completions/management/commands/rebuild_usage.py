"""`manage.py rebuild_usage [--since DAY] [--apply]`: add up the ledger from the stored runs again, and compare."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from completions.ledger_check import Difference, differences, repair

MAX_SHOWN = 20


class Command(BaseCommand):
    help = "Compare the ledger of usage with the stored runs, day by day; --apply mends it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", help="the first day to compare, as 2026-11-01; by default all days")
        parser.add_argument("--apply", action="store_true", help="write what the runs say where the ledger has less")
        parser.add_argument(
            "--deleted", action="store_true", help="with --apply: also where it has more, since runs were deleted"
        )

    def handle(self, *args: Any, since: str | None, apply: bool, deleted: bool, **options: Any) -> None:
        compared, more, less = 0, 0, 0
        for day, found in differences(since=_day(since)):
            compared += 1
            for difference in found:
                more, less = more + difference.is_more, less + (not difference.is_more)
                if more + less <= MAX_SHOWN:
                    self.stdout.write(_line(day, difference))
            if apply:
                repair([each for each in found if deleted or not each.is_more])
        self.stdout.write(f"Compared {compared} days: {less} rows have less than the runs, {more} have more.")
        if more:
            self.stdout.write("The ledger has more where runs were deleted: with conversations, accounts, or by age.")
        if apply:
            self.stdout.write(f"Mended {less + more if deleted else less} rows.")


def _line(day: dt.date, difference: Difference) -> str:
    ledger, runs = difference.ledger, difference.runs
    names = sorted(name for name in ledger.keys() | runs.keys() if ledger[name] != runs[name])
    what = ", ".join(f"{name} {ledger[name]} instead of {runs[name]}" for name in names)
    return f"{day} {difference.key[3]} user {difference.key[1]}: {what}"


def _day(text: str | None) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise CommandError(f"--since takes a day, as 2026-11-01, not {text!r}.") from error
