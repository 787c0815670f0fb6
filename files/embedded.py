"""Content that came as base64 inside of a request, until it is stored or sent: in memory, or on disk if it is large.

What is large was taken out of the body while it arrived. In its place the body has `sha256:` and the digest, which is
the same whenever the same content is sent. Behind another colon are the last characters of what was sent, if they are
others than encode the content: a long text may happen to have only letters that base64 has.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from typing import IO

from django.core.files.base import File as Content

from files.media_types import HEAD_BYTES, media_type_of

CHUNK_BYTES = 196_608  # a multiple of three: the pieces of base64 can be joined as they are
DATA_URL = re.compile(r"data:[^,\"\\\s]{0,200};base64,")
TAKEN_OUT = re.compile(r"sha256:([0-9a-f]{64})(?::([A-Za-z0-9+/=]{2,4}))?\Z")


@dataclass(frozen=True, slots=True)
class EmbeddedContent:
    """Decoded content, its SHA-256 digest in hexadecimal, and its size in bytes."""

    content: IO[bytes]
    sha256: str
    size: int

    @property
    def media_type(self) -> str:
        self.content.seek(0)
        return media_type_of(self.content.read(HEAD_BYTES))

    @property
    def placeholder(self) -> str:
        return f"sha256:{self.sha256}"

    def as_file(self) -> Content[bytes]:
        self.content.seek(0)
        return Content(self.content)

    def as_base64(self) -> str:
        self.content.seek(0)
        return base64.b64encode(self.content.read()).decode("ascii")

    def chunks(self) -> Iterator[bytes]:
        """Yield content that is on the disk, for any number of readers at once."""
        offset = 0
        while chunk := os.pread(self.content.fileno(), CHUNK_BYTES, offset):
            yield chunk
            offset += len(chunk)

    def close(self) -> None:
        self.content.close()


Arrived = Mapping[str, EmbeddedContent]
"""By digest."""
arrived: ContextVar[dict[str, EmbeddedContent]] = ContextVar("arrived")
"""What was taken out of the body of this request. Whoever removes one has to close it."""


def taken_out() -> dict[str, EmbeddedContent]:
    """Return what was taken out of the body of this request."""
    return arrived.get({})


def read_embedded(text: str, among: Arrived) -> EmbeddedContent | None:
    """Return the content of a data URL, of base64, or of what is in its place; None for any other text."""
    encoded = text[found.end() :] if (found := DATA_URL.match(text)) else text
    if placeholder := TAKEN_OUT.match(encoded):
        return among.get(placeholder[1])
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return EmbeddedContent(io.BytesIO(data), sha256(data).hexdigest(), len(data)) if data else None


def restored(text: str, among: Arrived) -> str:
    """Return the text as it was sent, if its content was taken out of it; else unchanged."""
    start = found.end() if (found := DATA_URL.match(text)) else 0
    placeholder = TAKEN_OUT.match(text, start)
    content = among.get(placeholder[1]) if placeholder else None
    if placeholder is None or content is None:
        return text
    encoded, ending = content.as_base64(), placeholder[2]
    return text[:start] + (encoded[:-4] + ending if ending else encoded)
