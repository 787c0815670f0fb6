"""While a backup is made, deleted files go, and their contents stay until it is over."""

from __future__ import annotations

import datetime as dt

from django.utils import timezone

from accounts.services import delete_user
from files.holds import Hold, release_all_holds
from files.models import HELD, NOBODY, ContentChange, File
from files.services import delete_file, finish_abandoned
from files.tests.test_services import FilesCase, stored


class HoldTest(FilesCase):
    def test_contents_stay_until_the_backup_is_over(self) -> None:
        mine, theirs = stored(self.alice, b"A"), stored(self.bob, b"B")
        with Hold().held():
            delete_file(file=mine)
            delete_user(user=self.bob)
            finish_abandoned()
            self.assertFalse(File.objects.filter(pk__in=[mine.pk, theirs.pk]).exists())
            self.assertEqual([len(self.contents(owner)) for owner in (self.alice, self.bob)], [1, 1])
            again = stored(self.alice, b"A")
        self.assertEqual(self.text_of(again), b"A", "it was stored again meanwhile")
        self.assertEqual(self.contents(self.bob), [])
        self.assertFalse(ContentChange.objects.filter(owner_id__in=[self.alice.pk, self.bob.pk, NOBODY]).exists())

    def test_a_hold_of_a_process_that_died_ends(self) -> None:
        held = ContentChange.objects.create(owner_id=NOBODY, sha256=HELD)
        file = stored(self.alice, b"A")
        delete_file(file=file)
        self.assertEqual(len(self.contents(self.alice)), 1)
        ContentChange.objects.filter(pk=held.pk).update(created_at=timezone.now() - dt.timedelta(hours=2))
        finish_abandoned()
        self.assertEqual(self.contents(self.alice), [])
        self.assertFalse(ContentChange.objects.holds().exists())

    def test_a_restored_hold_is_released(self) -> None:
        ContentChange.objects.create(owner_id=NOBODY, sha256=HELD)
        release_all_holds()
        self.assertFalse(ContentChange.objects.holds().exists())
