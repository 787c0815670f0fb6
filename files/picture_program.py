"""Makes a thumbnail of the picture on its standard input: a program of its own, which `thumbnails.py` starts.

It imports nothing of the service. Whatever it refuses or cannot read ends it with a status other than 0.
"""

from __future__ import annotations

import contextlib
import io
import resource
import sys
from typing import BinaryIO

from PIL import AvifImagePlugin, Image, ImageOps

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")


def limit(what: int, most: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit on memory, and does not take it
        resource.setrlimit(what, (most, most))


def thumbnail_of(content: BinaryIO, *, side: int, max_pixels: int) -> Image.Image:
    """Return the first frame, upright, on at most `side` pixels each way."""
    Image.MAX_IMAGE_PIXELS = None  # what counts is the size below: a JPEG is decoded smaller than it is
    image: Image.Image = Image.open(content, formats=FORMATS)
    image.draft("RGB", (2 * side, 2 * side))
    if image.width * image.height > max_pixels:
        raise ValueError("too many pixels")
    if image.mode.startswith("I"):  # Pillow cuts 16 bits off at 255
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    elif image.mode not in ("RGB", "RGBA", "L"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.thumbnail((side, side), reducing_gap=2.0)
    return ImageOps.exif_transpose(image)


def main() -> None:
    side, max_pixels, memory, seconds = map(int, sys.argv[1:])
    limit(resource.RLIMIT_AS, memory)
    limit(resource.RLIMIT_CPU, seconds)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each has memory of its own
    picture = thumbnail_of(io.BytesIO(sys.stdin.buffer.read()), side=side, max_pixels=max_pixels)
    picture.info.clear()  # place, camera, comments
    picture.save(sys.stdout.buffer, "WEBP", quality=80)


if __name__ == "__main__":
    main()
