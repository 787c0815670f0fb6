"""Checks that a backup is whole: every byte by its checksum, and every table by the number of its rows."""

from __future__ import annotations

from pathlib import Path

from backups.exceptions import BackupError
from backups.manifest import Manifest, check_sums, read_manifest, size_of
from backups.progress import Progress
from backups.snapshots import Database


def check_backup(folder: Path, *, progress: Progress) -> tuple[Manifest, list[str]]:
    """Return the manifest of a backup that is whole, and what could not be checked; raises BackupError."""
    folder = folder.absolute()
    if not folder.is_dir():
        raise BackupError(f"{folder} is no folder.")
    with progress.part("checksums", size_of(folder)) as advance:
        check_sums(folder, advance=advance)
    manifest = read_manifest(folder)
    with progress.part("tables"):
        unchecked = kind_of(manifest).check(folder / manifest.database, manifest.tables)
    return manifest, unchecked


def kind_of(manifest: Manifest) -> Database:
    """Return how the backup's kind of database is checked, which the service's database need not be."""
    from backups import postgresql, sqlite

    kinds: list[Database] = [sqlite.SQLite(), postgresql.PostgreSQL()]
    for kind in kinds:
        if kind.copy_name == manifest.database:
            return kind
    raise BackupError(f"The backup has a database that this version does not know: {manifest.database}.")
