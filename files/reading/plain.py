"""Reads plain text, Markdown included: UTF-8, or UTF-16 with a byte order mark."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import IO

CHUNK_BYTES = 65_536
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def pieces(source: IO[bytes]) -> Iterator[str]:
    """Yield the text. What is no text in between becomes U+FFFD."""
    chunk = source.read(CHUNK_BYTES)
    decoder = codecs.getincrementaldecoder("utf-16" if chunk.startswith(UTF_16) else "utf-8-sig")("replace")
    while chunk:
        yield decoder.decode(chunk)
        chunk = source.read(CHUNK_BYTES)
    yield decoder.decode(b"", final=True)
