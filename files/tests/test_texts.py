"""What files say is read once for an owner, by one process at a time, even if processes die over it."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any
from unittest import skipUnless

from django.core.files.base import ContentFile
from django.db import connection
from django.test import override_settings

from accounts.models import User
from accounts.personal_data import export_account
from accounts.services import delete_user
from chatservice.testing import Service, stop_shared_service, tried_on, wait_until
from files import texts
from files.models import File, FileText
from files.reading.process import processes
from files.services import delete_file, store_file
from files.tests import documents
from files.tests.test_services import FilesCase
from foundation.database import database_clock


class TextsCase(FilesCase):
    def setUp(self) -> None:
        super().setUp()
        stop_shared_service()  # it would read, too
        FileText.objects.waiting().delete()  # what earlier tests left

    def stored(self, owner: User, content: bytes, name: str = "a.txt") -> File:
        return store_file(owner_id=owner.pk, content=ContentFile(content), name=name, purpose="user_data")

    def text_of(self, file: File) -> FileText:  # type: ignore[override]
        return FileText.objects.of(file.owner_id, file.sha256).get()

    def read_all(self) -> None:
        while texts.read_next():
            pass


class ReadTest(TextsCase):
    def test_each_kind(self) -> None:
        files = {
            "Whales sleep.": self.stored(self.alice, b"Whales sleep."),
            "In a PDF": self.stored(self.alice, documents.pdf("In a PDF")),
            "In Word": self.stored(self.alice, documents.word("In Word")),
        }
        self.assertEqual({self.text_of(file).state for file in files.values()}, {"waiting"})
        self.read_all()
        for text, file in files.items():
            found = self.text_of(file)
            self.assertEqual((found.state, found.reason, found.text.strip()), ("read", "", text))
            self.assertEqual(found.chars, len(found.text))

    def test_what_cannot_be_read_says_why(self) -> None:
        for content, state, reason in (
            (documents.encrypted_pdf("secret", "pass"), "failed", "encrypted"),
            (b"%PDF-1.7\n nothing", "failed", "damaged"),
            (documents.pdf(""), "empty", ""),
            (b" \n", "empty", ""),
        ):
            file = self.stored(self.alice, content)
            self.read_all()
            found = self.text_of(file)
            self.assertEqual((found.state, found.reason, found.text), (state, reason, ""))
            self.assertNotEqual(texts.explanation(file.media_type, found.state, found.reason), "")

    @override_settings(FILE_TEXT_CHARS=10)
    def test_a_long_text_is_read_in_part(self) -> None:
        file = self.stored(self.alice, b"whale " * 1000)
        self.read_all()
        found = self.text_of(file)
        self.assertEqual((found.state, found.reason, found.text), ("read", "length", "whale whal"))
        explained = texts.explanation(file.media_type, found.state, found.reason)
        self.assertEqual(explained, "The rest of the text of this file is longer than the service reads.")

    @override_settings(FILE_TEXT_CHARS=0)
    def test_files_are_not_read_if_the_operator_does_not_want_it(self) -> None:
        self.stored(self.alice, b"a whale")
        self.assertFalse(FileText.objects.filter(owner=self.alice).exists())

    def test_pictures_are_not_read(self) -> None:
        self.stored(self.alice, b"\x89PNG\r\n\x1a\n" + bytes(100))
        self.assertFalse(FileText.objects.filter(owner=self.alice).exists())

    def test_equal_content_is_read_once_for_an_owner_and_never_for_two(self) -> None:
        first, second, others = (self.stored(user, b"a whale") for user in (self.alice, self.alice, self.bob))
        self.assertEqual(FileText.objects.filter(owner=self.alice).count(), 1)
        self.read_all()
        self.assertNotEqual(self.text_of(first).pk, self.text_of(others).pk)
        delete_file(file=first)
        delete_file(file=others)
        self.assertEqual(self.text_of(second).text, "a whale")
        self.assertFalse(FileText.objects.filter(owner=self.bob).exists())
        delete_file(file=second)
        self.assertFalse(FileText.objects.filter(owner=self.alice).exists())

    def test_it_is_exported_and_erased_with_the_account(self) -> None:
        self.stored(self.alice, b"a whale")
        self.read_all()
        rows = [json.loads(line) for line in export_account(self.alice)]
        [row] = [row["row"] for row in rows if row["model"] == "files.filetext"]
        self.assertEqual(row["text"], "a whale")
        delete_user(user=self.alice)
        self.assertFalse(FileText.objects.filter(owner=self.alice.pk).exists())


class ClaimTest(TextsCase):
    def test_several_readers_never_read_the_same_file(self) -> None:
        files = [self.stored(self.alice, f"whale {number}".encode()) for number in range(12)]
        results = self.at_once(*[self.read_all] * 4)
        self.assertEqual(results, [None] * 4)
        found = FileText.objects.filter(owner=self.alice)
        self.assertEqual({(each.state, each.tries) for each in found}, {("read", 1)})
        self.assertEqual(len(found), len(files))

    def test_a_claim_is_left_alone_until_it_expires(self) -> None:
        file = self.stored(self.alice, b"a whale")
        self.claim(seconds=60)
        self.assertFalse(texts.read_next())
        self.claim(seconds=-1)
        self.read_all()
        self.assertEqual(self.text_of(file).state, "read")

    def test_a_file_over_which_processes_die_is_given_up(self) -> None:
        file = self.stored(self.alice, b"a whale")
        FileText.objects.filter(owner=self.alice).update(tries=texts.MAX_TRIES)
        self.read_all()
        self.assertEqual((self.text_of(file).state, self.text_of(file).reason), ("failed", "crashed"))

    def test_a_storage_that_is_away_costs_no_try(self) -> None:
        file = self.stored(self.alice, b"a whale")
        broken = {"BACKEND": "files.tests.test_texts.Away"}
        with override_settings(STORAGES={"files": broken}), self.assertRaises(ConnectionError):
            texts.read_next()
        self.assertEqual((self.text_of(file).state, self.text_of(file).tries), ("waiting", 0))
        self.claim(seconds=-1)
        self.read_all()
        self.assertEqual(self.text_of(file).state, "read")

    def test_content_that_is_missing(self) -> None:
        file = self.stored(self.alice, b"a whale")
        os.unlink(self.folder(self.alice) / file.sha256)
        self.read_all()
        self.assertEqual((self.text_of(file).state, self.text_of(file).reason), ("failed", "missing"))

    def test_what_a_process_reads_when_it_ends_is_released(self) -> None:
        self.addCleanup(processes.allow)
        file = self.stored(self.alice, documents.slow_pdf("The first page"))
        thread = threading.Thread(target=lambda: self.at_once(texts.read_next))
        thread.start()
        wait_until(lambda: self.text_of(file).tries, what="a claim")
        processes.stop()
        thread.join(20)
        found = self.text_of(file)
        self.assertEqual((found.state, found.tries, found.claimed_until), ("waiting", 0, 0))

    def test_a_file_that_is_deleted_while_it_is_read(self) -> None:
        file = self.stored(self.alice, documents.pdf(*["a whale"] * 300))
        thread = threading.Thread(target=lambda: self.at_once(texts.read_next))
        thread.start()
        wait_until(lambda: self.text_of(file).tries, what="a claim")
        delete_file(file=file)
        thread.join(30)
        self.assertFalse(FileText.objects.filter(owner=self.alice).exists())

    def claim(self, *, seconds: float) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {database_clock()}")
            now = float(cursor.fetchone()[0])
        FileText.objects.filter(owner=self.alice).update(claimed_until=now + seconds)


@tried_on("postgresql")
class KilledServiceTest(TextsCase):
    @skipUnless(Path("/proc").exists(), "finds the reading process in /proc")
    def test_a_file_that_was_being_read_at_kill_9_is_read_afterwards(self) -> None:
        first = Service().start()
        self.addCleanup(first.kill)
        file = self.stored(self.alice, documents.slow_pdf("The first page", repeats=60_000))
        wait_until(lambda: self.text_of(file).claimed_until > 1, what="a claim")
        wait_until(lambda: self.reader_of(first), what="a process that reads")
        reader = self.reader_of(first)
        first.kill()
        self.assertEqual((self.text_of(file).state, self.text_of(file).text), ("waiting", ""))
        os.kill(reader, signal.SIGKILL)  # it would end at its limits
        second = Service().start()
        self.addCleanup(second.stop)
        FileText.objects.filter(owner=self.alice).update(claimed_until=1)  # as after a minute and a half
        other = self.stored(self.alice, b"a whale")
        wait_until(lambda: self.text_of(other).state == "read", what="another file, meanwhile")
        wait_until(lambda: self.text_of(file).state == "read", timeout=120, what="the text")
        self.assertTrue(self.text_of(file).text.startswith("The first page"))

    def reader_of(self, service: Service) -> int:
        assert service.process is not None
        children = Path(f"/proc/{service.process.pid}/task").glob("*/children")
        found = [int(pid) for each in children for pid in each.read_text().split()]
        return next((pid for pid in found if b"files.reading" in Path(f"/proc/{pid}/cmdline").read_bytes()), 0)


class Away:
    def open(self, name: str, mode: str) -> Any:
        raise ConnectionError
