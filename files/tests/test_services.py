"""Content is stored once for each owner and as long as a file needs it, whatever happens at the same time."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.base import File as Content
from django.test import override_settings
from django.utils import timezone

from accounts.callers import Principal
from accounts.models import User
from accounts.services import delete_user, register_user
from chatservice.testing import KeptTablesTestCase
from files import storage
from files.exceptions import ContentMissing, EmptyFile, FilesFull, FileTooLarge
from files.models import ContentChange, File
from files.services import BATCH, delete_file, finish_abandoned, open_file, prune_expired, store_file
from foundation.database import call_and_release

NOBODY_FINISHES = dt.timedelta(hours=2)


def stored(owner: User, text: bytes | Content, **more: Any) -> File:
    content = ContentFile(text) if isinstance(text, bytes) else text
    return store_file(**{"owner_id": owner.pk, "content": content, "name": "a.txt", "purpose": "user_data", **more})


class FilesCase(KeptTablesTestCase):
    def setUp(self) -> None:
        self.alice, self.bob = (register_user(username=f"{name}-{uuid.uuid4().hex[:12]}") for name in ("alice", "bob"))

    def folder(self, owner: User) -> Path:
        return Path(settings.VAR_DIR) / "files" / owner.pk.hex

    def contents(self, owner: User) -> list[str]:
        return sorted(os.listdir(self.folder(owner))) if self.folder(owner).exists() else []

    def text_of(self, file: File) -> bytes:
        with open_file(file=file) as content:
            return content.read()

    def at_once(self, *calls: Any) -> list[Any]:
        """Make all calls at the same time; return their results or errors."""
        gate = threading.Barrier(len(calls))
        results: list[Any] = [None] * len(calls)

        def make(number: int, call: Any) -> None:
            gate.wait()
            try:
                results[number] = call_and_release(call, ())
            except Exception as error:
                results[number] = error

        threads = [threading.Thread(target=make, args=each) for each in enumerate(calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            self.assertFalse(thread.is_alive())
        return results


class StoreTest(FilesCase):
    def test_what_is_stored_comes_back(self) -> None:
        text = os.urandom(1_000_000)
        file = stored(self.alice, text, name="b.bin", expires_after=dt.timedelta(hours=1))
        file.refresh_from_db()
        self.assertEqual(self.text_of(file), text)
        self.assertEqual((file.size, file.sha256, file.name), (len(text), hashlib.sha256(text).hexdigest(), "b.bin"))
        assert file.expires_at is not None
        self.assertEqual(file.expires_at - file.created_at, dt.timedelta(hours=1))
        self.assertFalse(ContentChange.objects.filter(owner_id=self.alice.pk).exists())

    def test_equal_content_is_stored_once_for_an_owner_and_never_shared_between_owners(self) -> None:
        first, second, others = stored(self.alice, b"same"), stored(self.alice, b"same"), stored(self.bob, b"same")
        self.assertNotEqual(first.pk, second.pk)
        self.assertEqual(self.contents(self.alice), [first.sha256])
        self.assertNotEqual(first.stored_name, others.stored_name)
        self.assertEqual(File.objects.filter(owner=self.alice).stored_bytes(), 4)
        delete_file(file=first)
        delete_file(file=others)
        self.assertEqual((self.text_of(second), self.contents(self.bob)), (b"same", []))
        self.assertTrue(delete_file(file=second))
        self.assertFalse(delete_file(file=second))
        self.assertEqual(self.contents(self.alice), [])

    def test_only_its_owner_sees_a_file_and_only_until_it_expires(self) -> None:
        file = stored(self.alice, b"mine")
        alice, bob = (Principal(user.pk, user.username) for user in (self.alice, self.bob))
        self.assertEqual(list(File.objects.visible_to(alice)), [file])
        self.assertEqual(list(File.objects.visible_to(bob)), [])
        self.assertEqual(list(File.objects.visible_to(Principal(self.alice.pk, "guest", is_guest=True))), [])
        File.objects.filter(pk=file.pk).update(expires_at=timezone.now())
        self.assertEqual(list(File.objects.visible_to(alice)), [])
        self.assertGreaterEqual(prune_expired(), 1)
        self.assertEqual((self.contents(self.alice), File.objects.filter(owner=self.alice).count()), ([], 0))

    def test_nobody_else_on_the_machine_can_read_it(self) -> None:
        file = stored(self.alice, b"private")
        path = self.folder(self.alice) / file.sha256
        self.assertEqual([each.stat().st_mode & 0o777 for each in (path, path.parent, path.parent.parent)][0], 0o600)
        self.assertEqual(path.parent.stat().st_mode & 0o077, 0)

    def test_a_refusal_leaves_nothing(self) -> None:
        with override_settings(LIMIT_FILE_BYTES=10), self.assertRaisesMessage(FileTooLarge, "at most 10 bytes"):
            stored(self.alice, b"x" * 11)
        with self.assertRaises(EmptyFile):
            stored(self.alice, b"")
        with override_settings(LIMIT_FILES_PER_USER_BYTES=10):
            kept = stored(self.alice, b"x" * 9)
            with self.assertRaisesMessage(FilesFull, "LIMIT_FILES_PER_USER_BYTES"):
                stored(self.alice, b"yy")
            stored(self.alice, b"x" * 9)  # takes no more room
            stored(self.bob, b"yy")
        with override_settings(LIMIT_FILES_PER_USER=2), self.assertRaisesMessage(FilesFull, "LIMIT_FILES_PER_USER"):
            stored(self.alice, b"x" * 9)
        self.assertEqual(self.contents(self.alice), [kept.sha256])
        self.assertFalse(ContentChange.objects.filter(owner_id=self.alice.pk).exists())

    def test_accounts_that_share_their_limits_share_these(self) -> None:
        made = register_user(username=f"made-{uuid.uuid4().hex[:12]}", created_by=self.alice)
        with override_settings(LIMIT_FILES_PER_USER_BYTES=10):
            stored(self.alice, b"x" * 6)
            with self.assertRaises(FilesFull):
                stored(made, b"y" * 6)

    def test_a_failing_storage_leaves_nothing(self) -> None:
        class Broken(Content):
            def __init__(self) -> None:
                super().__init__(ContentFile(b"x" * 1_000_000), name="broken")

            def chunks(self, chunk_size: int | None = None) -> Any:
                yield b"x" * 500_000
                raise OSError(28, "No space left on device")

        with self.assertRaises(storage.StorageLost), self.assertLogs("files.storage"):
            stored(self.alice, Broken())
        self.assertEqual((self.contents(self.alice), File.objects.filter(owner=self.alice).count()), ([], 0))
        self.assertFalse(ContentChange.objects.filter(owner_id=self.alice.pk).exists())

    def test_content_that_somebody_removed_by_hand_is_missing_and_can_still_be_deleted(self) -> None:
        file = stored(self.alice, b"gone")
        (self.folder(self.alice) / file.sha256).unlink()
        with self.assertLogs("files.services", "ERROR") as logged, self.assertRaises(ContentMissing):
            open_file(file=file)
        self.assertNotIn(file.name, str(logged.output))
        self.assertTrue(delete_file(file=file))

    def test_an_erased_owner_stores_nothing(self) -> None:
        owner = User(pk=self.alice.pk)
        delete_user(user=self.alice)
        with self.assertRaises(User.DoesNotExist):
            stored(owner, b"late")
        self.assertFalse(self.folder(owner).exists())


class AtOnceTest(FilesCase):
    def test_parallel_uploads_do_not_pass_the_limit(self) -> None:
        with override_settings(LIMIT_FILES_PER_USER_BYTES=2_500):
            results = self.at_once(*(lambda n=n: stored(self.alice, bytes([65 + n]) * 1_000) for n in range(6)))
        kept = [each for each in results if isinstance(each, File)]
        self.assertEqual(len(kept), 2, results)
        self.assertEqual({type(each) for each in results}, {File, FilesFull})
        self.assertEqual(self.contents(self.alice), sorted(file.sha256 for file in kept))

    def test_storing_and_deleting_the_same_content_never_loses_what_is_needed(self) -> None:
        for number in range(12):
            text = f"round {number}".encode()
            old = [stored(self.alice, text) for _ in range(2)]
            deletions = [lambda file=file: delete_file(file=file) for file in old]
            uploads = [lambda text=text: stored(self.alice, text)] * 2
            results = self.at_once(*deletions, *uploads)
            new = [each for each in results if isinstance(each, File)]
            self.assertEqual(len(new), 2, results)
            self.assertEqual([self.text_of(file) for file in new], [text, text])
            self.at_once(*(lambda file=file: delete_file(file=file) for file in new))
            self.assertEqual(self.contents(self.alice), [])
        self.assertFalse(ContentChange.objects.filter(owner_id=self.alice.pk).exists())

    def test_erasing_an_account_during_uploads_leaves_nothing(self) -> None:
        for number in range(4):
            owner = register_user(username=f"busy{number}-{uuid.uuid4().hex[:12]}")
            pk = owner.pk
            stored(owner, b"first")
            uploads = [lambda n=n, pk=pk: stored(User(pk=pk), bytes([65 + n]) * 300_000) for n in range(4)]
            self.at_once(lambda owner=owner: delete_user(user=User.objects.get(pk=owner.pk)), *uploads)
            self.assertFalse(User.objects.filter(pk=pk).exists())
            self.assertEqual(self.contents(User(pk=pk)), [])
            self.assertFalse(ContentChange.objects.filter(owner_id=pk).exists())


class CrashTest(FilesCase):
    """What a process that dies leaves behind is found an hour later."""

    def abandon(self, owner: User, sha256: str) -> None:
        change = ContentChange.objects.create(owner_id=owner.pk, sha256=sha256)
        ContentChange.objects.filter(pk=change.pk).update(created_at=timezone.now() - NOBODY_FINISHES)

    def test_content_without_a_file_is_deleted(self) -> None:
        sha256 = hashlib.sha256(b"half").hexdigest()
        storage.save(f"{self.alice.pk.hex}/{sha256}", ContentFile(b"half"))
        young = ContentChange.objects.create(owner_id=self.alice.pk, sha256=sha256)
        finish_abandoned()
        self.assertEqual(self.contents(self.alice), [sha256], "it may still be written")
        young.delete()
        self.abandon(self.alice, sha256)
        self.assertGreaterEqual(finish_abandoned(), 1)
        self.assertEqual(self.contents(self.alice), [])
        self.assertFalse(ContentChange.objects.filter(owner_id=self.alice.pk).exists())

    def test_however_many_there_are(self) -> None:
        old = timezone.now() - NOBODY_FINISHES
        for number in range(BATCH + 20):
            self.abandon(self.alice, f"{number:064x}")
        self.assertEqual(finish_abandoned(), BATCH + 20)
        self.assertFalse(ContentChange.objects.filter(created_at__lte=old).exists())

    def test_content_that_a_file_needs_stays(self) -> None:
        file = stored(self.alice, b"needed")
        self.abandon(self.alice, file.sha256)
        finish_abandoned()
        self.assertEqual(self.text_of(file), b"needed")
        self.assertFalse(ContentChange.objects.filter(owner_id=self.alice.pk).exists())

    def test_content_of_an_account_that_was_erased_meanwhile_is_deleted(self) -> None:
        pk, sha256 = self.alice.pk, hashlib.sha256(b"late").hexdigest()
        delete_user(user=self.alice)
        storage.save(f"{pk.hex}/{sha256}", ContentFile(b"late"))
        self.abandon(User(pk=pk), sha256)
        finish_abandoned()
        self.assertEqual(self.contents(User(pk=pk)), [])

    def test_drafts_are_deleted_an_hour_later(self) -> None:
        old, young = (storage.drafts() / f"{name}{storage.DRAFT}" for name in ("old", "young"))
        for path in (old, young):
            path.write_bytes(b"x")
        self.addCleanup(young.unlink)
        os.utime(old, (time.time() - 7_200,) * 2)
        storage.delete_abandoned_drafts()
        self.assertEqual((old.exists(), young.exists()), (False, True))
