"""`manage.py reap_runs`: mark the runs whose process is gone, as every process does by itself all the time."""

from __future__ import annotations

from django.core.management.base import BaseCommand

from completions.services import prune_chunks, prune_keys, reap


class Command(BaseCommand):
    help = "Mark runs without a producer interrupted, and drop the stored pieces of answers that are long finished."

    def handle(self, *args, **options):
        self.stdout.write(f"{reap()} runs marked interrupted")
        self.stdout.write(f"{prune_chunks()} stored pieces dropped")
        self.stdout.write(f"{prune_keys()} idempotency keys forgotten")
