"""Turns FILE_STORAGE and its options into an entry of Django's STORAGES."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "files.storage.FolderStorage"


def file_storage(backend: str, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the entry: `folder` by default, readable only by the user that runs the service."""
    if backend and backend != FOLDER:
        return {"BACKEND": backend, "OPTIONS": dict(options)}
    private = {"file_permissions_mode": 0o600, "directory_permissions_mode": 0o700, "allow_overwrite": True}
    return {"BACKEND": FOLDER, "OPTIONS": {"location": str(folder), **private, **options}}
