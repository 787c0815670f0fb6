"""Thumbnails: what is drawn, what is left out, and pictures that are made to do harm."""

from __future__ import annotations

import io
import struct
import uuid
import zlib
from unittest import mock

from django.core.files.base import ContentFile
from django.test import SimpleTestCase
from PIL import Image

from files import thumbnails
from files.models import File
from files.storage import save
from files.tests.pictures import CANARY, lying_on_its_side, opened, picture
from files.thumbnails import MEDIA_TYPES, NoThumbnail, begin_thumbnail

RED, BLUE = (200, 60, 40), (40, 80, 180)


def stored(content: bytes, media_type: str = "image/png") -> File:
    file = File(owner_id=uuid.uuid4(), sha256="0" * 64, size=len(content), media_type=media_type)
    save(file.stored_name, ContentFile(content))
    return file


def thumbnail(content: bytes) -> Image.Image:
    return opened(begin_thumbnail(stored(content)).result())


def png_of(width: int, height: int) -> bytes:
    """Return a PNG that is as small as its pixels are many: all of them are the same."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + width // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class ThumbnailTest(SimpleTestCase):
    def assert_close(self, image: Image.Image, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
        found = image.convert("RGB").getpixel(place)
        assert isinstance(found, tuple)
        self.assertTrue(all(abs(a - b) < 25 for a, b in zip(found, colour, strict=True)), f"{found} for {colour}")

    def test_every_kind_of_picture_is_drawn(self) -> None:
        for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"):
            with self.subTest(kind):
                self.assertIn(f"image/{kind.lower()}", MEDIA_TYPES)
                made = thumbnail(picture(kind))
                self.assertEqual((made.format, made.size), ("WEBP", (512, 341)))
                self.assert_close(made, (250, 40), RED)
                self.assert_close(made, (250, 300), BLUE)

    def test_every_mode_is_drawn(self) -> None:
        for mode, kind in (("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG")):
            with self.subTest(mode):
                self.assertEqual(thumbnail(picture(kind, mode=mode)).size, (512, 341))
        deep = io.BytesIO()
        Image.new("I;16", (40, 30), 30_000).save(deep, "PNG")
        self.assert_close(thumbnail(deep.getvalue()), (20, 15), (117, 117, 117))

    def test_a_small_one_is_not_enlarged_and_what_is_transparent_stays_so(self) -> None:
        clear = io.BytesIO()
        Image.new("RGBA", (20, 10), (200, 60, 40, 0)).save(clear, "PNG")
        made = thumbnail(clear.getvalue())
        self.assertEqual((made.size, made.getpixel((5, 5))[3]), ((20, 10), 0))  # type: ignore[index]  # four colours

    def test_the_first_of_moving_pictures_is_drawn(self) -> None:
        moving = picture("GIF", save_all=True, append_images=[Image.new("RGB", (900, 600))], duration=50)
        made = thumbnail(moving)
        self.assertFalse(getattr(made, "is_animated", False))
        self.assert_close(made, (250, 40), RED)

    def test_it_is_upright_and_does_not_say_where_it_was_taken(self) -> None:
        content = lying_on_its_side()
        self.assertIn(CANARY.encode(), content)
        drawn = begin_thumbnail(stored(content)).result()
        self.assertEqual(opened(drawn).size, (341, 512))
        self.assert_close(opened(drawn), (300, 250), RED)
        self.assertNotIn(CANARY.encode(), drawn)
        self.assertFalse(opened(drawn).getexif())


class HarmfulPictureTest(SimpleTestCase):
    def test_bombs_are_refused(self) -> None:
        bombs = {
            "900 million pixels": png_of(30_000, 30_000),
            "a line": png_of(65_536, 1_000),
            "GIF": b"GIF89a"
            + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0)
            + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x01\0\0;",
            "BMP": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        }
        for name, content in bombs.items():
            with self.subTest(name), self.assertRaises(NoThumbnail):
                begin_thumbnail(stored(content)).result()
        self.assertLess(len(bombs["900 million pixels"]), 200_000)

    def test_broken_ones_and_what_is_no_picture_are_refused(self) -> None:
        whole = picture(size=(600, 600))
        for name, content in {
            "cut off": whole[: len(whole) // 2],
            "header alone": whole[:33],
            "signature alone": whole[:8],
            "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
            "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "a device": b"/dev/zero",
        }.items():
            with self.subTest(name), self.assertRaises(NoThumbnail):
                begin_thumbnail(stored(content)).result()

    def test_what_is_too_large_or_of_another_type_is_not_read(self) -> None:
        too_large = stored(picture())
        too_large.size = thumbnails.MAX_BYTES + 1
        for file in (too_large, stored(picture(), "text/plain"), stored(picture(), "image/heic")):
            with mock.patch("files.thumbnails.open_file") as opening, self.assertRaises(NoThumbnail):
                begin_thumbnail(file).result()
            opening.assert_not_called()

    def test_one_that_takes_too_much_memory_is_given_up(self) -> None:
        large = stored(png_of(6_000, 6_000))
        begin_thumbnail(large).result()
        with mock.patch.object(thumbnails, "MEMORY_BYTES", 100_000_000):
            begin_thumbnail(stored(picture())).result()
            with self.assertRaises(NoThumbnail):
                begin_thumbnail(large).result()

    def test_one_that_takes_too_long_is_given_up(self) -> None:
        with mock.patch.object(thumbnails, "SECONDS", 0), self.assertRaises(NoThumbnail):
            begin_thumbnail(stored(picture())).result()
