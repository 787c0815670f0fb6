"""`manage.py recount_storage`: count again what each account holds, and correct the counters."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from conversations import quota
from foundation.database import lift_time_limit


class Command(BaseCommand):
    help = (
        "Compare what each account stores with its counters, print the differences, and correct the counters. The "
        "service may be running. Triggers maintain the counters: a difference means that they were switched off."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print the differences")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        lift_time_limit()
        wrong = 0
        for drift in quota.drifts():
            self.stdout.write(f"{drift.owner_id}: {drift.messages:+} messages, {drift.bytes:+} bytes")
            wrong += 1
            if not dry_run:
                quota.correct(drift)
        said = "differ" if dry_run else "corrected"
        self.stdout.write(f"{wrong} accounts {said}")
