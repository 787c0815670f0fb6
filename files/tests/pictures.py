"""Makes pictures for tests."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

CANARY = "CANARYPLACE"


def picture(kind: str = "PNG", *, size: tuple[int, int] = (900, 600), mode: str = "RGB", **options: Any) -> bytes:
    """Return a picture: red above, blue below."""
    drawn = Image.new("RGB", size, (40, 80, 180))
    drawn.paste((200, 60, 40), (0, 0, size[0], size[1] // 2))
    stored = io.BytesIO()
    drawn.convert(mode).save(stored, kind, **options)
    return stored.getvalue()


def lying_on_its_side() -> bytes:
    """Return a JPEG that its metadata turns by a right angle, and that says where it was taken."""
    metadata = Image.Exif()
    metadata[0x0112] = 6
    metadata[0x010E] = CANARY
    return picture("JPEG", exif=metadata.tobytes(), comment=CANARY)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))
