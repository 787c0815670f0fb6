"""Why a file is refused. Each message is for the client, and names the setting where there is one."""

from __future__ import annotations


class FileRefused(Exception):
    """The file is not stored."""


class FileTooLarge(FileRefused):
    def __init__(self, limit: int) -> None:
        super().__init__(f"A file holds at most {limit} bytes (LIMIT_FILE_BYTES).")


class EmptyFile(FileRefused):
    def __init__(self) -> None:
        super().__init__("The file is empty.")


class FilesFull(FileRefused):
    """The account holds as many files, or bytes of files, as the settings allow."""


class ContentMissing(Exception):
    """The storage has lost the content of a file."""
