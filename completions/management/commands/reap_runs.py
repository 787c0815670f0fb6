"""`manage.py reap_runs`: end the runs whose process died, as every process also does by itself every few seconds."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from completions.services import prune_chunks, prune_keys, reap


class Command(BaseCommand):
    help = "Mark runs whose process died as interrupted, and delete the stored chunks of answers that ended long ago."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{reap()} runs marked as interrupted")
        self.stdout.write(f"{prune_chunks()} stored chunks deleted")
        self.stdout.write(f"{prune_keys()} idempotency keys deleted")
