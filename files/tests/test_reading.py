"""What files say is read by a process with limits; whatever is in a file, that process ends and the service goes on."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from unittest import TestCase

from files.reading.process import Processes, Stopped, processes, read
from files.reading.values import Limits, Reading, Reason
from files.tests import documents

PDF, TEXT = "application/pdf", "text/plain"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def reading_of(content: bytes, media_type: str, **limits: int) -> Reading:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return read(file, media_type, Limits(**{"chars": 100_000, **limits}), draft=tempfile.TemporaryFile)


def reading_processes() -> list[int]:
    """Return the processes that read for this one at the moment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"files.reading" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:  # it has ended
            continue
    return found


class KindsTest(TestCase):
    def said(self, content: bytes, media_type: str) -> str:
        found = reading_of(content, media_type)
        self.assertEqual(found.reason, Reason.NONE)
        return found.text

    def test_text_in_utf_8_and_utf_16(self) -> None:
        self.assertEqual(self.said("# Wale\n\nschlafen *oben*: ß 🐋".encode(), TEXT), "# Wale\n\nschlafen *oben*: ß 🐋")
        for encoding in ("utf-8-sig", "utf-16"):
            self.assertEqual(self.said("Ä whale 🐋".encode(encoding), TEXT), "Ä whale 🐋")
        self.assertEqual(self.said(b"a\xff\x00b", TEXT), "a\ufffdb")

    def test_a_character_between_two_chunks(self) -> None:
        text = "x" * 65_535 + "ß" + "y" * 10
        self.assertEqual(self.said(text.encode(), TEXT), text)

    def test_the_pages_of_a_pdf(self) -> None:
        self.assertEqual(
            self.said(documents.pdf("Whales sleep", "near the surface"), PDF).split("\n\n")[:2],
            ["Whales sleep", "near the surface"],
        )

    def test_a_pdf_that_everybody_may_read_although_it_is_encrypted(self) -> None:
        self.assertIn("Whales", self.said(documents.encrypted_pdf("Whales sleep", ""), PDF))

    def test_paragraphs_and_tables_of_a_word_document(self) -> None:
        text = self.said(documents.word("Whales sleep.", "Ärger 🐋", table="in a cell"), WORD)
        self.assertEqual(text.strip().splitlines(), ["Whales sleep.", "Ärger 🐋", "in a cell"])

    def test_content_that_is_not_on_this_machine(self) -> None:
        found = read(BytesIO(b"a whale"), TEXT, Limits(100), draft=tempfile.TemporaryFile)
        self.assertEqual(found, Reading("a whale", Reason.NONE))


class LimitsTest(TestCase):
    def test_a_long_text_ends_at_the_limit(self) -> None:
        self.assertEqual(reading_of(b"whale " * 100, TEXT, chars=10), Reading("whale whal", Reason.LENGTH))
        self.assertEqual(reading_of(b"whale", TEXT, chars=5), Reading("whale", Reason.NONE))
        self.assertEqual(reading_of("🐋🐋🐋".encode(), TEXT, chars=2), Reading("🐋🐋", Reason.LENGTH))

    def test_without_the_password_nothing_is_read(self) -> None:
        self.assertEqual(reading_of(documents.encrypted_pdf("secret", "pass"), PDF), Reading("", Reason.ENCRYPTED))

    def test_broken_files(self) -> None:
        whole_pdf, whole_word = documents.pdf("Whales sleep"), documents.word("Whales sleep")
        for content, kind in (
            (b"%PDF-1.7\n" + bytes(range(256)), PDF),
            (whole_pdf[:200], PDF),
            (whole_word[: len(whole_word) // 2], WORD),
            (b"PK\x03\x04" + bytes(100), WORD),
            (whole_pdf, WORD),
            (whole_word, PDF),
        ):
            self.assertEqual(reading_of(content, kind), Reading("", Reason.DAMAGED))

    def test_bombs(self) -> None:
        """A few kilobytes become hundreds of megabytes."""
        for content, kind in ((documents.pdf_bomb(300), PDF), (documents.word_bomb(600), WORD)):
            self.assertLess(len(content), 1_000_000)
            found = reading_of(content, kind)
            self.assertEqual(found.text.strip(), "")
        self.assertEqual(found.reason, Reason.MEMORY)

    def test_processor_time(self) -> None:
        found = reading_of(documents.slow_pdf("The first page"), PDF, cpu_seconds=3)
        self.assertEqual((found.text.strip(), found.reason), ("The first page", Reason.TIME))
        self.assertEqual(reading_processes(), [])

    def test_time_on_the_clock(self) -> None:
        began = time.monotonic()
        found = reading_of(documents.slow_pdf("The first page"), PDF, seconds=3)
        self.assertEqual((found.text.strip(), found.reason), ("The first page", Reason.TIME))
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual(reading_processes(), [])


class StopTest(TestCase):
    def test_a_reading_that_is_stopped_ends_at_once(self) -> None:
        self.addCleanup(processes.allow)
        errors: list[type[Exception]] = []

        def reads() -> None:
            try:
                reading_of(documents.slow_pdf("The first page"), PDF)
            except Exception as error:
                errors.append(type(error))

        thread = threading.Thread(target=reads)
        thread.start()
        while not reading_processes():
            time.sleep(0.01)
        processes.stop()
        thread.join(10)
        self.assertEqual((errors, reading_processes()), ([Stopped], []))
        with self.assertRaises(Stopped):
            reading_of(b"a whale", TEXT)

    def test_the_process_has_no_secrets_of_the_service(self) -> None:
        with tempfile.TemporaryFile() as output, open("/dev/null", "rb") as nothing:
            with Processes().started(["/usr/bin/env"], nothing, output) as process:
                process.wait(10)
            output.seek(0)
            self.assertEqual(output.read(), b"")
