"""`manage.py restore PATH`: a backup becomes the database, files and secrets of this installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from backups.exceptions import BackupError
from backups.progress import Progress
from backups.restoring import restore_backup
from backups.terminating import exits_on_signals


class Command(BaseCommand):
    help = (
        "Restore a backup into an empty database, with its files and secrets, and migrate it to this version. The "
        "service must not be running."
    )
    # Before the first start there are no secrets, which checks may ask for.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path)
        parser.add_argument("--clean", action="store_true", help="delete everything in the database first")
        parser.add_argument("--no-files", action="store_true", help="leave the contents of files out")
        parser.add_argument("--no-secrets", action="store_true", help="leave the secrets out")
        parser.add_argument("--no-migrate", action="store_true", help="leave the database at its version")
        parser.add_argument("--quiet", action="store_true", help="show no progress")

    def handle(self, *args: Any, path: Path, clean: bool, quiet: bool, **options: Any) -> None:
        included = {name: not options[f"no_{name}"] for name in ("files", "secrets", "migrate")}
        try:
            with exits_on_signals():
                manifest = restore_backup(path, clean=clean, progress=Progress(quiet=quiet), **included)
        except BackupError as error:
            raise CommandError(str(error)) from error
        rows = sum(manifest.tables.values())
        self.stdout.write(f"Restored {rows:,} rows of version {manifest.version}, as of {manifest.snapshot_at}.")
        for missing in manifest.not_included:
            self.stdout.write(f"Not in the backup: {missing}.")
        if not included["migrate"]:
            self.stdout.write("Run manage.py migrate before the service starts.")
