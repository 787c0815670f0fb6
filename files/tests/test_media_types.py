"""Media types are told from the bytes, and nothing that a browser could run is told apart from text."""

from __future__ import annotations

import io
import struct
import zipfile

from django.test import SimpleTestCase

from files.media_types import HEAD_BYTES, OFFICE, TEXT, UNKNOWN, media_type_of


def zipped(*names: str, first: tuple[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if first:
            archive.writestr(*first, compress_type=zipfile.ZIP_STORED)
        for name in names:
            archive.writestr(name, "<x/>" * 20)
    return buffer.getvalue()


class MediaTypeTest(SimpleTestCase):
    def test_known_beginnings(self) -> None:
        for head, media_type in (
            (b"\x89PNG\r\n\x1a\n" + bytes(20), "image/png"),
            (b"\xff\xd8\xff\xe0" + bytes(20), "image/jpeg"),
            (b"GIF89a" + bytes(20), "image/gif"),
            (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
            (b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav"),
            (b"RIFF\x24\x00\x00\x00nope", UNKNOWN),
            (b"\x00\x00\x00\x1cftypavif" + bytes(20), "image/avif"),
            (b"\x00\x00\x00\x1cftypheic" + bytes(20), "image/heic"),
            (b"\x00\x00\x00\x1cftypisom" + bytes(20), "video/mp4"),
            (b"BM" + bytes(12) + struct.pack("<I", 40), "image/bmp"),
            (b"BMX and other cars that are text", TEXT),
            (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "application/pdf"),
            (b"ID3\x04\x00", "audio/mpeg"),
            (b"\xff\xfb\x90\x64" + bytes(20), "audio/mpeg"),
            (b"\x1aE\xdf\xa3" + bytes(20), "video/webm"),
            (b"\x7fELF\x02\x01", UNKNOWN),
            (bytes(range(256)), UNKNOWN),
        ):
            self.assertEqual(media_type_of(head), media_type, head)

    def test_what_a_browser_could_run_is_text(self) -> None:
        for text in (
            "<!DOCTYPE html><script>alert(1)</script>",
            '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
            '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>',
            "\ufeffwith a mark",
            '{"a": 1}',
            "größer 🐺",
            "#!/bin/sh\n",
        ):
            self.assertEqual(media_type_of(text.encode()), TEXT, text)

    def test_a_character_may_be_cut_at_the_end_of_the_head_and_nowhere_else(self) -> None:
        self.assertEqual(media_type_of(("a" + "ü" * HEAD_BYTES).encode()[:HEAD_BYTES]), TEXT)
        self.assertEqual(media_type_of("aü".encode()[:-1]), UNKNOWN)
        self.assertEqual(media_type_of(b"text\x00"), UNKNOWN)
        self.assertEqual(media_type_of("größer".encode("utf-16")), TEXT)

    def test_archives_by_what_is_in_them(self) -> None:
        for names, kind in (
            (("word/document.xml",), "wordprocessingml.document"),
            (("xl/workbook.xml",), "spreadsheetml.sheet"),
            (("ppt/presentation.xml",), "presentationml.presentation"),
        ):
            self.assertEqual(media_type_of(zipped("[Content_Types].xml", "_rels/.rels", *names)), f"{OFFICE}.{kind}")
        self.assertEqual(media_type_of(zipped("a.txt", "word/document.xml")), "application/zip")
        book = ("mimetype", "application/epub+zip")
        self.assertEqual(media_type_of(zipped("META-INF/container.xml", first=book)), "application/epub+zip")
        for evil in ("text/html", "application/x\r\nSet-Cookie: a=b", "application/" + "x" * 200, "application/ü"):
            told = media_type_of(zipped("a", first=("mimetype", evil)))
            self.assertEqual(told, "application/zip", evil)
