"""`manage.py verify_backup PATH`: checks every byte and every table of a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from backups.exceptions import BackupError
from backups.progress import Progress
from backups.terminating import exits_on_signals
from backups.verifying import check_backup


class Command(BaseCommand):
    help = (
        "Compare every byte of a backup with its checksums, and the rows of every table with their number. "
        "A dump of PostgreSQL is restored to a database that is deleted afterwards, if the role may create one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path)
        parser.add_argument("--quiet", action="store_true", help="show no progress")

    def handle(self, *args: Any, path: Path, quiet: bool, **options: Any) -> None:
        try:
            with exits_on_signals():
                manifest, unchecked = check_backup(path, progress=Progress(quiet=quiet))
        except BackupError as error:
            raise CommandError(str(error)) from error
        for missing in unchecked:
            self.stdout.write(f"Not checked: {missing}.")
        self.stdout.write(f"{path} is whole: version {manifest.version}, as of {manifest.snapshot_at}.")
