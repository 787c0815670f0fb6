"""`manage.py backup PATH`: one consistent backup while the service runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from backups.exceptions import BackupError
from backups.progress import Progress
from backups.taking import take_backup
from backups.terminating import exits_on_signals

INCOMPLETE = 3
"""The exit code of a backup that was made without contents of files that are lost."""


class Command(BaseCommand):
    help = (
        "Back up the database, the contents of files and the secrets to PATH, a new folder, while answers are written. "
        "What is in it was committed at one moment. The folder gets its name once it is whole."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help="a folder that does not exist yet")
        parser.add_argument("--no-files", action="store_true", help="leave the contents of files out")
        parser.add_argument("--no-secrets", action="store_true", help="leave the secrets of VAR_DIR out")
        parser.add_argument("--verify", action="store_true", help="check the backup before it gets its name")
        parser.add_argument("--quiet", action="store_true", help="show no progress")

    def handle(
        self, *args: Any, path: Path, no_files: bool, no_secrets: bool, verify: bool, quiet: bool, **options: Any
    ) -> None:
        try:
            with exits_on_signals():
                manifest, unchecked = take_backup(
                    path,
                    files=not no_files,
                    secrets=not no_secrets,
                    verify=verify,
                    progress=Progress(quiet=quiet),
                )
        except BackupError as error:
            raise CommandError(str(error)) from error
        rows = sum(manifest.tables.values())
        self.stdout.write(
            f"{path}: {manifest.server} as of {manifest.snapshot_at}, {rows:,} rows in {len(manifest.tables)} tables, "
            f"{manifest.contents:,} contents of files ({manifest.content_bytes:,} bytes)."
        )
        for missing in manifest.not_included:
            self.stdout.write(f"Not included: {missing}.")
        for missing in unchecked:
            self.stdout.write(f"Not checked: {missing}.")
        if lost := manifest.lost_contents:
            raise CommandError(
                f"The backup is made, but the contents of {len(lost)} files are missing or damaged where they are "
                f"kept, and not in it: {', '.join(lost[:5])}{', …' if len(lost) > 5 else ''}.",
                returncode=INCOMPLETE,
            )
