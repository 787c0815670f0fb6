"""Takes a backup: into a hidden folder beside its place, which gets its name once everything is on the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.files.storage import storages

from backups.contents import copy_contents, folder_of_contents
from backups.exceptions import BackupError
from backups.manifest import Advance, Manifest, Sums, digest_of, write_manifest
from backups.progress import Progress
from backups.snapshots import Database, Report, Snapshot, database
from backups.verifying import check_backup
from chatservice import __version__
from chatservice.first_run import FILE as SECRETS
from chatservice.first_run import NAMES, read_secrets
from files.holds import Hold
from files.storage import ALIAS, sync

DRAFT = ".partial"
SPARE_BYTES = 16_777_216
SETTINGS = "settings: the environment and .env"


def take_backup(
    path: Path, *, files: bool = True, secrets: bool = True, verify: bool = False, progress: Progress
) -> tuple[Manifest, list[str]]:
    """Write a backup to `path`, a new folder; return what is in it, and what of it `verify` could not check.

    `files` and `secrets` say whether contents of files and VAR_DIR's secrets are included. Raises BackupError, and then
    leaves nothing there.
    """
    path = path.absolute()
    if path.exists() or path.is_symlink():
        raise BackupError(f"{path} exists: give the name of a folder that does not.")
    if not path.parent.is_dir():
        raise BackupError(f"{path.parent} is no folder.")
    with _draft_of(path) as draft:
        with Hold().held() as hold:
            # Renewed whenever something is done, since a large backup takes longer than a hold.
            manifest = _fill(draft, files=files, secrets=secrets, progress=progress, renew=hold.renew)
        unchecked = check_backup(draft, progress=progress)[1] if verify else []
        for directory, _, names in os.walk(draft):
            for name in names:
                os.chmod(Path(directory, name), 0o600)
        os.sync()
        draft.rename(path)
        sync(path.parent)
    return manifest, unchecked


def _fill(draft: Path, *, files: bool, secrets: bool, progress: Progress, renew: Callable[[], object]) -> Manifest:
    kind, left_out = database(), [SETTINGS]
    sums: Sums = {}
    copied: Sums = {}
    lost: list[str] = []
    source = folder_of_contents()
    began = time.monotonic()
    with kind.snapshot() as snapshot:
        contents = list(snapshot.contents())
        if source is None:
            backend = type(storages[ALIAS]).__name__
            left_out.append(f"contents of files: they are in the storage {backend}, which has backups of its own")
        elif not files:
            left_out.append("contents of files: left out with --no-files")
        included = contents if files and source else []
        content_bytes = sum(size for _, _, size in included)
        _check_space(draft, snapshot.size() + content_bytes)
        sums[kind.copy_name] = _copy_database(kind, snapshot, draft, progress, renew)
        tables, migrations = snapshot.tables(), snapshot.migrations()
        server, taken_at = snapshot.server, snapshot.taken_at.isoformat()
    seconds = time.monotonic() - began
    if source and included:
        with progress.part("files", content_bytes) as advance:
            copied, lost = copy_contents(source, draft, included, _renewing(advance, renew))
            sums |= copied
    if reason := _without_secrets(secrets):
        left_out.append(f"SECRET_KEY and KEY_PEPPER: {reason}")
    else:
        shutil.copyfile(settings.VAR_DIR / SECRETS, draft / SECRETS)
        sums[SECRETS] = digest_of(draft / SECRETS)
    manifest = Manifest(
        version=__version__,
        database=kind.copy_name,
        server=server,
        snapshot_at=taken_at,
        seconds=round(seconds, 3),
        migrations=migrations,
        tables=tables,
        contents=len(copied),
        content_bytes=sum((draft / name).stat().st_size for name in copied),
        lost_contents=lost,
        not_included=left_out,
    )
    write_manifest(draft, manifest, sums)
    return manifest


def _copy_database(
    kind: Database, snapshot: Snapshot, draft: Path, progress: Progress, renew: Callable[[], object]
) -> str:
    path = draft / kind.copy_name
    with progress.part("database", snapshot.size()) as advance:
        snapshot.write_to(path, _from_totals(_renewing(advance, renew)))
    return digest_of(path, advance=lambda size: renew())


def _from_totals(advance: Advance) -> Report:
    done = 0

    def report(total: int) -> None:
        nonlocal done
        advance(max(total - done, 0))
        done = max(total, done)

    return report


def _renewing(advance: Advance, renew: Callable[[], object]) -> Advance:
    def both(size: int) -> None:
        renew()
        advance(size)

    return both


def _without_secrets(wanted: bool) -> str:
    """Return why the secrets are not included; empty if they are."""
    if not wanted:
        return "left out with --no-secrets"
    if read_secrets(settings.VAR_DIR) != {name: getattr(settings, name) for name in NAMES}:
        return "they are in the environment, and not in VAR_DIR; keep them with this backup"
    return ""


def _check_space(draft: Path, needed: int) -> None:
    free = shutil.disk_usage(draft).free
    if free < needed + SPARE_BYTES:
        raise BackupError(
            f"{draft.parent} has {free / 1e6:,.0f} MB free, and the backup may need {needed / 1e6:,.0f} MB: "
            f"nothing was written."
        )


@contextmanager
def _draft_of(path: Path) -> Iterator[Path]:
    """Yield a new folder, readable by its owner only, which is removed at the end unless it was renamed."""
    _remove_abandoned(path.parent)
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=DRAFT, dir=path.parent))
    except OSError as error:
        raise BackupError(f"{path.parent} cannot be written to ({error.strerror}).") from error
    locked = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(locked, fcntl.LOCK_EX)
        yield draft
    except OSError as error:
        raise BackupError(f"The backup could not be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(locked)


def _remove_abandoned(folder: Path) -> None:
    """Remove what backups left that were killed: nobody holds its lock."""
    for draft in folder.glob(f".*{DRAFT}"):
        with contextlib.suppress(OSError):
            locked = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(draft, ignore_errors=True)
            finally:
                os.close(locked)
