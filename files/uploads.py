"""Receives the file of a form: Django's parser writes it to disk, where storing it is a rename."""

from __future__ import annotations

from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile

from files.exceptions import FileRefused
from files.storage import Draft


class OneFileHandler(FileUploadHandler):
    """Receives the file in the form's field `field`; files in other fields are skipped, a second one is refused.

    Close it in the end: not every error reaches it.
    """

    def __init__(self, field: str) -> None:
        super().__init__()
        self._field = field
        self._draft: Draft | None = None

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        if field_name != self._field:
            raise SkipFile
        if self._draft is not None:
            raise FileRefused(f"The form has several files in the field '{self._field}'.")
        super().new_file(field_name, *args, **kwargs)
        self._draft = Draft(self.file_name or "", self.content_type or "")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        assert self._draft is not None
        self._draft.write(raw_data)
        return None

    def file_complete(self, file_size: int) -> UploadedFile | None:  # type: ignore[type-arg]
        assert self._draft is not None
        self._draft.flush()
        self._draft.size = file_size
        return self._draft

    def close(self) -> None:
        if self._draft is not None:
            self._draft.close()
