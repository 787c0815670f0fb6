"""`manage.py prune_history`: delete what is past its time, as every process does by itself once a day."""

from __future__ import annotations

from django.core.management.base import BaseCommand

from conversations.retention import count_expired, expired_looks, prune_history, prune_looks


class Command(BaseCommand):
    help = "Delete conversations, and lines of the log of looks, that the settings RETENTION_* keep no longer."

    def add_arguments(self, parser):
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")

    def handle(self, *args, dry_run: bool, **options):
        if dry_run:
            self.stdout.write(f"{count_expired()} conversations are past their time")
            self.stdout.write(f"{expired_looks().count()} looks are past their time")
        else:
            self.stdout.write(f"{prune_history()} conversations deleted")
            self.stdout.write(f"{prune_looks()} looks deleted")
