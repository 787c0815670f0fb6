"""Whatever is wrong with the files of an export, or too much of them, its texts are imported."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

from django.test import override_settings

from chatservice.testing import tried_on
from conversations.models import Message
from conversations.tests.attachments_case import PDF, AttachmentsCase, asks, picture, points_to
from conversations.tests.exports import chat, node
from files.models import ContentChange


class LimitsTest(AttachmentsCase):
    def entries(self, count: int) -> list[Any]:
        return [asks(f"talk{at}", f"Look {at}", points_to(f"file-service://file-{at}")) for at in range(count)]

    def test_a_file_beyond_the_limit_is_left_out_and_the_text_is_not(self) -> None:
        small, large = picture(), picture() + bytes(5_000)
        path = self.zip(self.entries(2), {"file-0.png": small, "file-1.png": large})
        with override_settings(LIMIT_FILE_BYTES=4_000):
            told = self.bring_in(path)
        self.assertIn("2 conversations imported", told)
        self.assertIn("Left out: file over LIMIT_FILE_BYTES (1).", told)
        self.assertEqual(self.contents(), [small])
        self.assertEqual(self.parts("talk1"), "Look 1\n\n[image: file-service://file-1]")
        self.bring_in(path)  # under a higher limit
        self.assertEqual(self.parts("talk1"), ["Look 1", ("image_url", large)])

    def test_a_full_account_gets_the_texts(self) -> None:
        red, blue, green = (picture(colour) for colour in ("red", "blue", "green"))
        members = {"file-0.png": red, "file-1.png": blue, "file-2.png": green, "file-3.png": red}
        path = self.zip(self.entries(4), members)
        for limit in ({"LIMIT_FILES_PER_USER": 2}, {"LIMIT_FILES_PER_USER_BYTES": len(red) + 1}):
            with override_settings(**limit):
                told = self.bring_in(path)
            self.assertIn("file beyond LIMIT_FILES_PER_USER or LIMIT_FILES_PER_USER_BYTES", told)
        self.assertEqual(Message.objects.filter(conversation__owner=self.alice.user).count(), 4)
        self.assertEqual(self.parts("talk0"), ["Look 0", ("image_url", red)])
        self.assertEqual(self.parts("talk2"), "Look 2\n\n[image: file-service://file-2]")
        self.bring_in(path)
        for at, content in enumerate((red, blue, green, red)):
            self.assertEqual(self.parts(f"talk{at}"), [f"Look {at}", ("image_url", content)])
        self.assertEqual(len(self.files()), 3)

    @override_settings(LIMIT_CONVERSATIONS_PER_USER=1)
    def test_what_is_refused_keeps_no_file(self) -> None:
        red, blue = picture("red"), picture("blue")
        told = self.bring_in(self.zip(self.entries(2), {"file-0.png": red, "file-1.png": blue}))
        self.assertIn("1 conversations imported, 0 extended, 0 unchanged, 1 skipped", told)
        self.assertEqual(self.contents(), [red])
        self.assertFalse(ContentChange.objects.filter(owner_id=self.alice.user.pk).exists())


@tried_on("sqlite")
class HostileTest(AttachmentsCase):
    def test_names_are_never_paths(self) -> None:
        red = picture()
        names = [
            "../../../../tmp/file-0.png",
            "/tmp/file-1.png",
            "..\\..\\file-2.png",
            "file-3-\x1b[31m\u202egnp.exe",
            f"file-4-{'x' * 900}.png",
            "a/" * 200 + "file-5.png",
        ]
        entries = [asks(f"talk{at}", "Look", points_to(f"file-service://file-{at}")) for at in range(len(names))]
        entries.append(asks("up", points_to("file-service://../../../../etc/passwd"), points_to("file:///etc/passwd")))
        entries.append(asks("odd", points_to("file-service://file-"), points_to("sediment://"), {"asset_pointer": 5}))
        told = self.bring_in(self.zip(entries, dict.fromkeys(names, red)))
        self.assertIn(f"{len(entries)} conversations imported", told)
        for at in range(len(names)):
            self.assertEqual(self.parts(f"talk{at}"), ["Look", ("image_url", red)])
        [file] = self.files()
        self.assertEqual(file.name, "file-0.png")
        self.assertEqual(
            self.parts("up"), "[image: file-service://../../../../etc/passwd]\n\n[image: file:///etc/passwd]"
        )
        self.assertFalse(Path("/tmp/file-1.png").exists() or Path("/tmp/file-0.png").exists())

    def test_names_that_no_database_stores_are_cleaned(self) -> None:
        upload = {"id": "file-0", "name": "nul\x00 half\ud83d/" + "x" * 300}
        entry = chat("talk", node("q", None, metadata={"attachments": [upload, None, 5, {"id": []}]}))
        self.bring_in(self.zip([entry], {"file-0.dat": PDF}))
        [file] = self.files()
        self.assertEqual(file.name, "x" * 255)
        self.assertEqual(self.parts("talk"), ["q", ("file", PDF)])
        before = self.rows()
        self.bring_in(self.zip([entry], {"file-0.dat": PDF}))
        self.assertEqual(self.rows(), before)

    def test_names_that_are_none_are_survived(self) -> None:
        names = ["..", ".", "/", "\x00", " ", "a/..", "[file: x]"]
        uploads = [{"id": f"file-{at}", "name": name} for at, name in enumerate(names)]
        entry = chat("talk", node("q", None, metadata={"attachments": uploads}))
        members = {f"file-{at}.dat": PDF + bytes([at]) for at in range(len(names))}
        told = self.bring_in(self.zip([entry], {**members, "conversation_asset_file_names.json": [None, ".."]}))
        self.assertIn("1 conversations imported", told)
        self.assertTrue(all(file.name for file in self.files()))
        self.assertGreaterEqual(len(self.files()), 4)

    def test_of_files_with_one_name_the_first_is_taken(self) -> None:
        path = self.folder / "twice.zip"
        with self.assertWarns(UserWarning), zipfile.ZipFile(path, "w") as archive:
            archive.writestr("conversations.json", json.dumps([asks("talk", points_to("file-service://file-0"))]))
            archive.writestr("file-0.png", picture("red"))
            archive.writestr("file-0.png", picture("blue"))
            archive.writestr("user-1/file-0.png", picture("green"))
        self.bring_in(path)
        self.assertEqual(self.parts("talk"), [("image_url", picture("red"))])

    def test_a_picture_that_is_none_is_a_file(self) -> None:
        page = b"<html><script>alert(1)</script>"
        entries = [asks(f"talk{at}", points_to(f"file-service://file-{at}")) for at in range(3)]
        self.bring_in(self.zip(entries, {"file-0.png": page, "file-1.png": b"", "file-2.txt": picture()}))
        self.assertEqual(self.parts("talk0"), [("file", page)])
        self.assertEqual(self.parts("talk1"), "[image: file-service://file-1]")
        self.assertEqual(self.parts("talk2"), [("image_url", picture())])
        self.assertEqual({file.media_type for file in self.files()}, {"text/plain", "image/png"})

    def test_a_size_that_is_a_lie_damage_and_locks_keep_no_text_out(self) -> None:
        said = [asks(f"talk{at}", f"Look {at}", points_to(f"file-service://file-{at}")) for at in range(5)]
        members = {f"file-{at}.png": picture(size=200) + bytes(9_000) for at in range(5)}
        data = bytearray(self.zip(said, members).read_bytes())
        sizes = {0: 10, 1: 0xFFFF_FFF0}  # far too small, far too large
        with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
            found = {entry.filename: entry for entry in archive.infolist()}
        for at, size in sizes.items():
            central = data.index(f"file-{at}.png".encode(), archive.start_dir) - 46
            struct.pack_into("<L", data, central + 24, size)
            struct.pack_into("<L", data, found[f"file-{at}.png"].header_offset + 22, size)
        damaged = found["file-2.png"]
        data[damaged.header_offset + 60] ^= 0xFF
        locked = found["file-3.png"]
        data[locked.header_offset + 6] |= 1
        data[data.index(b"file-3.png", archive.start_dir) - 46 + 8] |= 1
        path = self.folder / "lies.zip"
        path.write_bytes(data)
        told = self.bring_in(path)
        self.assertIn("5 conversations imported", told)
        self.assertIn("damaged or empty file (3)", told)
        self.assertIn("file over LIMIT_FILE_BYTES (1)", told)
        self.assertEqual(self.contents(), [members["file-4.png"]])
        for at in range(4):
            self.assertEqual(self.parts(f"talk{at}"), f"Look {at}\n\n[image: file-service://file-{at}]")

    @override_settings(LIMIT_FILE_BYTES=1 << 20)
    def test_a_bomb_costs_neither_memory_nor_disk(self) -> None:
        said = [asks(f"talk{at}", points_to(f"file-service://file-{at}")) for at in range(2)]
        bomb = bytes(200 << 20)
        path = self.folder / "bomb.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("conversations.json", json.dumps(said))
            archive.writestr("file-0.png", bomb)
            # Other methods unpack a chunk whole.
            archive.writestr("file-1.png", bomb, zipfile.ZIP_LZMA)
        data = bytearray(path.read_bytes())
        for at in range(2):  # says that it is small
            central = data.index(f"file-{at}.png".encode(), archive.start_dir) - 46
            struct.pack_into("<L", data, central + 24, 1 << 20)
        path.write_bytes(data)
        del bomb
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        told = self.bring_in(path)
        self.assertLess(tracemalloc.get_traced_memory()[1], 20 << 20)
        self.assertIn("2 conversations imported", told)
        self.assertIn("file that is not in the export (1)", told)
        self.assertEqual(self.files(), [])
