"""Reads the text of PDF files, page by page; pictures of text are not text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from pypdf import PasswordType, PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError

from files.reading.values import Encrypted


def pieces(source: IO[bytes]) -> Iterator[str]:
    """Yield the text of each page; raises Encrypted, and errors of the library for a broken file."""
    try:
        reader = PdfReader(source)
        # Many files that everybody may read are encrypted with an empty password.
        if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
            raise Encrypted
        for page in reader.pages:
            yield page.extract_text()
            yield "\n\n"
    except (DependencyError, FileNotDecryptedError) as error:
        raise Encrypted from error
