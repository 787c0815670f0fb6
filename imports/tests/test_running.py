"""Imports as jobs: what they add and report, and what becomes of one that is cancelled, or whose process dies."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from django.core.files.base import ContentFile
from django.test import TestCase, override_settings
from django.utils import timezone

from accounts.models import User
from accounts.services import register_user
from conversations.importers.values import ImportedConversation
from conversations.models import Conversation, Message
from conversations.signals import import_finished
from conversations.tests.exports import chat, node, write_zip
from files.models import File
from files.services import delete_file, store_file
from imports import running
from imports.models import HistoryImport
from imports.running import prune, run_next

State = HistoryImport.State


def talks(count: int) -> list[dict[str, Any]]:
    return [chat(f"talk{at}", node("q", None), node("a", "q", "assistant")) for at in range(count)]


class ImportCase(TestCase):
    def setUp(self) -> None:
        self.alice = register_user(username=f"alice-{uuid.uuid4().hex[:12]}")

    def stored(self, content: Any, name: str = "conversations.json") -> File:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return store_file(owner_id=self.alice.pk, content=ContentFile(data), name=name, purpose="user_data")

    def job(self, content: Any, name: str = "conversations.json", **fields: Any) -> HistoryImport:
        file = self.stored(content, name)
        return HistoryImport.objects.create(owner=self.alice, file_id=file.pk, file_name=name, **fields)

    def done(self, job: HistoryImport) -> HistoryImport:
        while run_next():
            pass
        job.refresh_from_db()
        return job


class RunningTest(ImportCase):
    def test_what_is_new_is_added_and_counted(self):
        told = []
        import_finished.connect(receiver := lambda owner, tally, **kwargs: told.append((owner.pk, tally.created)))
        self.addCleanup(import_finished.disconnect, receiver)
        job = self.done(self.job(talks(3)))
        self.assertEqual((job.state, job.created, job.messages, job.read), (State.FINISHED, 3, 6, job.size))
        self.assertEqual(Conversation.objects.filter(owner=self.alice).count(), 3)
        self.assertEqual(told, [(self.alice.pk, 3)])
        again = self.done(self.job([*talks(3), *talks(4)[3:]]))
        self.assertEqual((again.created, again.unchanged, again.messages), (1, 3, 2))

    def test_a_zip_is_read_with_its_files(self):
        with TemporaryDirectory() as folder:
            pointer = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-AbC123"}
            parts = {"content_type": "multimodal_text", "parts": [pointer, "A cat"]}
            talk = chat("t", node("q", None, content=parts))
            path = write_zip(Path(folder, "a.zip"), {"conversations.json": [talk], "file-AbC123-cat.txt": b"meow"})
            job = self.done(self.job(path.read_bytes(), "a.zip"))
        self.assertEqual((job.state, job.created, job.files), (State.FINISHED, 1, 1))

    def test_what_is_refused_is_reported_with_its_reason(self):
        with override_settings(LIMIT_CONVERSATIONS_PER_USER=1):
            job = self.done(self.job([*talks(3), {"title": "No messages", "id": "x"}]))
        self.assertEqual((job.state, job.created, job.skipped), (State.FINISHED, 1, 3))
        reasons = {reason for _, reason in job.report["skipped"]}
        self.assertTrue(any("LIMIT_CONVERSATIONS_PER_USER" in reason for reason in reasons), reasons)
        self.assertTrue(any("no messages" in reason for reason in reasons), reasons)

    def test_what_is_no_export_fails_with_the_reason_and_under_its_own_name(self):
        for content, name, told in (
            (b"%PDF-1.7 no export", "letter.pdf", "not valid JSON"),
            (b"PK\x03\x04 a damaged zip", "a.zip", "not valid JSON"),
        ):
            job = self.done(self.job(content, name))
            self.assertEqual((job.state, job.error_code), (State.FAILED, "unreadable"))
            self.assertIn(told, job.error)
        cut = self.done(self.job(json.dumps(talks(2)).encode()[:-20], "cut.json"))
        self.assertEqual((cut.state, cut.created), (State.FINISHED, 1))
        self.assertEqual(cut.report["unread"][0][0], "cut.json")
        with TemporaryDirectory() as folder:
            empty = write_zip(Path(folder, "a.zip"), {"notes.txt": b"Nothing"}).read_bytes()
        self.assertEqual(self.done(self.job(empty, "a.zip")).error_code, "unreadable")
        with mock.patch.object(running, "MAX_UNPACKED_BYTES", 10):
            self.assertEqual(self.done(self.job(talks(1))).error_code, "too_large")

    def test_a_file_that_is_gone_fails(self):
        job = self.job(talks(1))
        delete_file(file=File.objects.get(pk=job.file_id))
        self.assertEqual(self.done(job).error_code, "file_not_found")


class ClaimTest(ImportCase):
    def stop_after_first_batch(self, act: Any) -> Any:
        """Import one conversation a batch, and call `act` after the first one is stored."""
        real = running.import_batch

        def batch(*, owner: User, conversations: list[ImportedConversation]) -> Any:
            tally = real(owner=owner, conversations=conversations)
            if conversations[0].source_id == "talk0":
                act()
            return tally

        one_each = mock.patch("conversations.imports.BATCH_MESSAGES", 1)
        always = mock.patch.object(running, "SAVE_SECONDS", -1)
        return one_each, always, mock.patch.object(running, "import_batch", batch)

    def run_and_act(self, job: HistoryImport, act: Any) -> None:
        one_each, always, batch = self.stop_after_first_batch(act)
        with one_each, always, batch:
            run_next()

    def test_a_cancelled_one_ends_before_its_next_batch(self):
        job = self.job(talks(3))
        self.run_and_act(job, lambda: HistoryImport.objects.filter(pk=job.pk).update(is_cancelling=True))
        job.refresh_from_db()
        self.assertEqual(job.state, State.CANCELLED)
        self.assertEqual(Conversation.objects.filter(owner=self.alice).count(), 1)
        self.assertFalse(run_next())

    def test_the_account_of_one_that_runs_is_closed(self):
        job = self.job(talks(3))
        self.run_and_act(job, lambda: User.objects.filter(pk=self.alice.pk).update(is_active=False))
        job.refresh_from_db()
        self.assertEqual((job.state, Conversation.objects.filter(owner=self.alice).count()), (State.CANCELLED, 1))

    def test_what_a_dead_process_left_is_begun_anew_and_adds_nothing_twice(self):
        job = self.job(talks(3))

        def die() -> None:
            raise SystemExit

        real = running._Progress.save
        saves = []

        def save(progress: Any, **more: Any) -> None:
            real(progress, **more)
            saves.append(progress.tally.created)
            if progress.tally.created == 2 and not more:
                die()

        with mock.patch("conversations.imports.BATCH_MESSAGES", 1), mock.patch.object(running, "SAVE_SECONDS", -1):
            with mock.patch.object(running._Progress, "save", save), self.assertRaises(SystemExit):
                run_next()
            self.assertFalse(run_next(), "its claim holds for a while")
            HistoryImport.objects.filter(pk=job.pk).update(claimed_until=timezone.now() - dt.timedelta(seconds=5))
            self.done(job)
        self.assertEqual((job.state, job.tries), (State.FINISHED, 2))
        self.assertEqual((job.created, job.unchanged, job.messages), (3, 0, 6))
        self.assertEqual(Message.objects.filter(conversation__owner=self.alice).count(), 6)

    def test_whoever_lost_the_claim_changes_nothing_any_more(self):
        job = self.job(talks(3))
        self.run_and_act(job, lambda: HistoryImport.objects.filter(pk=job.pk).update(tries=2, created=77))
        job.refresh_from_db()
        self.assertEqual((job.state, job.created), (State.RUNNING, 77))

    def test_one_that_ends_every_process_is_given_up(self):
        job = self.job(talks(1), tries=running.MAX_TRIES)
        self.done(job)
        self.assertEqual((job.state, job.error_code), (State.FAILED, "interrupted"))

    def test_old_ones_are_deleted(self):
        old = timezone.now() - dt.timedelta(days=running.KEPT_DAYS + 1)
        pk = uuid.UUID(int=int(old.timestamp() * 1000) << 80 | 7 << 76)
        kept = self.job(talks(1), state=State.FINISHED)
        self.job(talks(2), state=State.FINISHED, pk=pk)
        self.assertEqual(prune(), 1)
        self.assertEqual(list(HistoryImport.objects.filter(owner=self.alice)), [kept])
