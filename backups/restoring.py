"""Restores a backup: into an empty database, with its files and secrets; then it is as after a crash."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from backups.contents import restore_contents
from backups.exceptions import BackupError
from backups.manifest import FILES, Manifest, Sums, check_sums, read_manifest, size_of
from backups.progress import Progress
from backups.snapshots import database, differences
from chatservice.first_run import FILE as SECRETS
from chatservice.first_run import make_directory
from completions.models import Run
from completions.services import reap
from files.holds import release_all_holds
from files.storage import StorageLost


def restore_backup(
    folder: Path,
    *,
    files: bool = True,
    secrets: bool = True,
    clean: bool = False,
    migrate: bool = True,
    progress: Progress,
) -> Manifest:
    """Make this installation what a backup has; raises BackupError, before anything is changed if that can be known.

    The database has to be empty unless `clean`, which empties it first. `migrate` brings it to this version; the runs
    that were running are ended then, as after a crash.
    """
    folder = folder.absolute()
    with progress.part("checksums", size_of(folder)) as advance:
        sums = check_sums(folder, advance=advance)
    manifest = read_manifest(folder)
    kind = database()
    if kind.copy_name != manifest.database:
        raise BackupError(f"The backup is of {manifest.server}, and DATABASE_URL names another kind of database.")
    _check_version(manifest)
    if secrets and SECRETS in sums:
        _check_secrets(folder)
    if not clean and not kind.is_empty():
        raise BackupError("The database is not empty. With --clean, everything in it is deleted first.")
    make_directory(settings.VAR_DIR)
    with progress.part("database"):
        kind.restore(folder / manifest.database, clean=clean)
        if different := differences(manifest.tables, kind.tables()):
            raise BackupError(f"The restored database is not what was backed up: {different}.")
    if secrets and SECRETS in sums:
        _restore_secrets(folder)
    if files:
        _restore_files(folder, sums, progress)
    if migrate:
        call_command("migrate", verbosity=0, interactive=False)
        release_all_holds()
        # No process has them any more, wherever it was: their leases end now, and not when their time is over.
        Run.objects.running().update(lease_until=0)
        reap()
    connection.close()
    return manifest


def _restore_files(folder: Path, sums: Sums, progress: Progress) -> None:
    total = sum((folder / name).stat().st_size for name in sums if name.startswith(f"{FILES}/"))
    with progress.part("files", total) as advance:
        try:
            restore_contents(folder, sums, advance)
        except StorageLost as error:
            raise BackupError(f"The database is restored, but not all files: {error}") from error


def _check_version(manifest: Manifest) -> None:
    loader = MigrationLoader(connection, load=False)
    loader.load_disk()
    known = {f"{app}.{name}" for app, name in loader.disk_migrations}
    known |= {f"{app}.{old}" for each in loader.disk_migrations.values() for app, old in each.replaces}
    ours = {name.partition(".")[0] for name in known}
    later = [name for name in manifest.migrations if name not in known and name.partition(".")[0] in ours]
    if later:
        raise BackupError(
            f"The backup is of version {manifest.version}, which has migrations that this version does not know "
            f"({', '.join(later[:3])}): restore it with that version or a later one."
        )


def _check_secrets(folder: Path) -> None:
    target = settings.VAR_DIR / SECRETS
    if target.exists() and target.read_bytes() != (folder / SECRETS).read_bytes():
        raise BackupError(
            f"{target} has other secrets than the backup. Move it away to get those of the backup, or leave them out "
            "with --no-secrets: then no key of the backup works unless KEY_PEPPER is set to the one of that time."
        )


def _restore_secrets(folder: Path) -> None:
    target = settings.VAR_DIR / SECRETS
    if target.exists():
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{SECRETS}.", dir=settings.VAR_DIR)
    with os.fdopen(descriptor, "wb") as file:
        file.write((folder / SECRETS).read_bytes())
        file.flush()
        os.fsync(file.fileno())
    os.replace(name, target)
    for line in target.read_text().splitlines():
        setting, _, value = line.partition("=")
        # What the environment sets takes precedence, as at the next start.
        if settings.SECRETS_ARE_MISSING and not os.environ.get(setting):
            setattr(settings, setting, value)
