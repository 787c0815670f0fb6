"""`manage.py prune_history`: delete what is past its retention time, as every process does by itself once a day."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from conversations.retention import count_expired, expired_access_log, prune_access_log, prune_history


class Command(BaseCommand):
    help = "Delete conversations and access log entries that are past their time by the RETENTION_* settings."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count them")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        if dry_run:
            self.stdout.write(f"{count_expired()} conversations are past their time")
            self.stdout.write(f"{expired_access_log().count()} access log entries are past their time")
        else:
            self.stdout.write(f"{prune_history()} conversations deleted")
            self.stdout.write(f"{prune_access_log()} access log entries deleted")
