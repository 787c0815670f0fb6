"""Where the content of files is kept: the storage `files`, by default a folder below VAR_DIR."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files.base import File as Content
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.core.files.uploadedfile import UploadedFile

logger = logging.getLogger(__name__)

ALIAS = "files"
DRAFT = ".upload"
ABANDONED_SECONDS = 3_600


class StorageLost(Exception):
    """The storage did not do what it was asked to do."""


def storage() -> Storage:
    return storages[ALIAS]


class Draft(UploadedFile):  # type: ignore[type-arg]  # not subscriptable at run time
    """A file that is being uploaded, on the same disk as the folder, so that storing it is a rename."""

    def __init__(self, name: str, content_type: str = "", size: int = 0, charset: str | None = None) -> None:
        draft = new_draft()
        self._path = draft.name
        super().__init__(draft, name, content_type, size, charset)

    def temporary_file_path(self) -> str:
        return self._path

    def close(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # it was moved to its place
            super().close()


class FolderStorage(FileSystemStorage):
    """A folder in which content appears whole or not at all, and survives a power cut once it is stored."""

    def _save(self, name: str, content: Content[bytes]) -> str:
        if not hasattr(content, "temporary_file_path"):
            with Draft(name) as draft:
                for chunk in content.chunks():
                    draft.write(chunk)
                draft.flush()
                return self._save(name, draft)
        sync(content.temporary_file_path())
        saved: str = super()._save(name, content)  # type: ignore[misc]  # the stubs do not know it
        folder = os.path.dirname(self.path(saved))
        sync(folder)
        sync(os.path.dirname(folder))
        return saved


def sync(path: str | Path) -> None:
    """Wait until the disk has a file's content, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drafts() -> Path:
    """Return the folder for what is still arriving: on the disk of VAR_DIR, because /tmp may be memory."""
    folder: Path = settings.VAR_DIR / "uploads"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def new_draft() -> IO[bytes]:
    """Return a file in `drafts()` that is deleted when it is closed."""
    return tempfile.NamedTemporaryFile(suffix=DRAFT, dir=drafts())


def unnamed_draft() -> IO[bytes]:
    """Return a file in `drafts()` without a name: nothing is left of it, even by `kill -9`."""
    return tempfile.TemporaryFile(dir=drafts())


def delete_abandoned_drafts() -> int:
    """Delete what processes that died left in `drafts()` an hour ago; returns how many."""
    deleted = 0
    for path in drafts().glob(f"*{DRAFT}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()
                deleted += 1
    return deleted


def save(name: str, content: Content[bytes]) -> None:
    """Store `content` under exactly this name; raises StorageLost."""
    content.seek(0)
    try:
        saved: Any = storage().save(name, content)
    except Exception as error:  # storages raise errors of their own
        logger.error("content could not be stored (%s)", type(error).__name__)
        raise StorageLost("The storage of files is away, or full.") from error
    if saved != name:
        storage().delete(saved)
        raise StorageLost("The storage of files must overwrite a file of the same name.")


def delete_folder(name: str) -> None:
    """Delete an empty folder, where the storage has folders."""
    with contextlib.suppress(OSError, NotImplementedError):
        storage().delete(name)
