"""The contents of files in a backup: copied with their digests, and held while a backup is made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from django.core.files.base import File as Content

from backups.manifest import CHUNK_BYTES, CONTENT, FILES, Advance, Sums
from files.storage import FolderStorage, save, storage


def folder_of_contents() -> Path | None:
    """Return the folder in which contents are kept, or None if they are in another storage, which backs itself up."""
    kept = storage()
    return Path(kept.location) if isinstance(kept, FolderStorage) else None


def copy_contents(
    source: Path, folder: Path, contents: Iterable[tuple[str, str, int]], advance: Advance
) -> tuple[Sums, list[str]]:
    """Copy contents, each (owner's id in hex, digest, size), into a backup.

    Returns the digests by name, and the names of contents that are missing in `source` or no longer what was stored:
    no backup can bring these back, and they must not keep the others from being backed up.
    """
    sums, lost = {}, []
    for owner, sha256, _ in contents:
        name = f"{owner}/{sha256}"
        target = folder / FILES / name
        for each in (folder / FILES, target.parent):
            each.mkdir(mode=0o700, exist_ok=True)
        try:
            is_whole = _copy(source / name, target, advance) == sha256
        except FileNotFoundError:
            is_whole = False
        if is_whole:
            sums[f"{FILES}/{name}"] = sha256
        else:
            target.unlink(missing_ok=True)
            lost.append(name)
    return sums, lost


def restore_contents(folder: Path, sums: Sums, advance: Advance) -> int:
    """Store a backup's contents in the configured storage, of whatever kind; returns how many."""
    names = [name for name in sums if CONTENT.fullmatch(name)]
    for name in names:
        with (folder / name).open("rb") as file:
            save(name.removeprefix(f"{FILES}/"), Content(file))
        advance((folder / name).stat().st_size)
    return len(names)


def _copy(source: Path, target: Path, advance: Advance) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as content, target.open("xb") as copy:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
            copy.write(chunk)
            advance(len(chunk))
    return digest.hexdigest()
