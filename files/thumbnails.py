"""Makes thumbnails of pictures, each in a process of its own.

Decoders of pictures are large programs in C, and what they read is anybody's: in a process of its own, one that crashes
or takes too much memory takes nothing with it. It costs a fifth of a second; browsers keep what they got, by the ETag.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

from files.models import File
from files.services import open_file
from foundation.threads import DaemonThreads

MEDIA_TYPE = "image/webp"
VERSION = 1
"""Part of the ETag: to be counted up when the same picture gives another thumbnail."""
SIDE = 512
# More than cameras and phones take by default. A JPEG may have more: it is decoded smaller than it is.
MAX_PIXELS = 40_000_000
MAX_BYTES = 33_554_432
# Twice MAX_PIXELS of four bytes, the file, and the program itself.
MEMORY_BYTES = 536_870_912
SECONDS = 10
PROGRAM = Path(__file__).with_name("picture_program.py")
MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/tiff", "image/avif"})

# All pictures of a process wait for these: a page of them must not take the machine from the answers.
_threads = DaemonThreads(2, "thumbnails")


class NoThumbnail(Exception):
    """The picture is broken, too large, or of a type that is not decoded."""


def has_thumbnail(file: File) -> bool:
    """Tell whether it is worth trying, without reading the content."""
    return file.media_type in MEDIA_TYPES and file.size <= MAX_BYTES


def begin_thumbnail(file: File) -> Future[bytes]:
    """Return the thumbnail to come, a WebP without metadata; it raises NoThumbnail, ContentMissing and OSError."""
    return _threads.submit(_make, file)


def etag_of(file: File) -> str:
    return f'"{file.sha256}-{VERSION}"'


def _make(file: File) -> bytes:
    if not has_thumbnail(file):
        raise NoThumbnail
    with open_file(file=file) as content:
        picture = content.read()
    limits = map(str, (SIDE, MAX_PIXELS, MEMORY_BYTES, SECONDS))
    try:
        made = subprocess.run(
            [sys.executable, "-I", PROGRAM, *limits],
            input=picture,
            capture_output=True,
            timeout=2 * SECONDS,
            env={},  # no secret of the service
        )
    except subprocess.TimeoutExpired as error:
        raise NoThumbnail from error
    if made.returncode:
        raise NoThumbnail
    return made.stdout
