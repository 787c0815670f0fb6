"""System checks of the storage for files."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.core.files.storage import InvalidStorageError

from files.storage import storage


@register(Tags.files)
def storage_can_be_made(**kwargs: Any) -> list[CheckMessage]:
    """Refuse a FILE_STORAGE that cannot be imported, or does not take its options."""
    try:
        storage()
    except (InvalidStorageError, ImportError, TypeError, ValueError) as error:
        # Never the message: it may repeat an option, and options may be secrets.
        return [
            Error(
                f"The storage for files cannot be made ({type(error).__name__}).",
                hint="FILE_STORAGE names a class that is installed; FILE_STORAGE_OPTIONS are its arguments.",
                id="files.E001",
            )
        ]
    return []
