"""The pictures and files of a transcript: only for staff who opened it with a reason, and only what it refers to."""

from __future__ import annotations

import datetime as dt
import uuid

import httpx2
from django.core.files.base import ContentFile
from django.test import override_settings
from django.utils import timezone

from accounts.models import User
from accounts.services import register_user
from chatservice.testing import ServiceTestCase, tried_once
from conversations.models import AccessLogEntry, Conversation
from conversations.services import append_message, start_conversation
from files.models import File, FileText
from files.public_ids import public_id
from files.services import store_file
from files.tests.pictures import opened, picture
from foundation.ids import first_id_of
from tests.matrix.subjects import signed_in
from tests.staff import LIST, REASON, StaffCase, staff


def illustrated(owner: User, name: str = "whale.png", content: bytes = b"") -> tuple[Conversation, File]:
    """Store a conversation whose message refers to a file."""
    stored = ContentFile(content or picture())
    file = store_file(owner_id=owner.pk, content=stored, name=name, purpose="vision")
    talk = start_conversation(owner_id=owner.pk)
    refer_to(file, talk)
    return talk, file


def refer_to(file: File, talk: Conversation) -> None:
    part = {"type": "image_url", "image_url": {"file_id": public_id(file.pk)}}
    append_message(conversation=talk, role="user", content="", extras={"content": [part]})


def addresses(talk: Conversation, file: File) -> tuple[str, str]:
    here = f"{LIST}{talk.pk}/files/{public_id(file.pk)}/"
    return here, f"{here}thumbnail/"


@tried_once
class WhoSeesThemTest(StaffCase):
    def setUp(self) -> None:
        self.talk, self.file = illustrated(self.alice)
        self.reader = self.signed_in(self.carol)

    def read(self, talk: Conversation) -> None:
        """Open a transcript, as the form does."""
        page = f"{LIST}{talk.pk}/change/"
        self.assertRedirects(self.reader.post(page, {"reason": REASON}), page)

    def statuses(self, talk: Conversation, file: File) -> set[int]:
        return {self.reader.get(address).status_code for address in addresses(talk, file)}

    def test_a_reason_alone_shows_nothing_before_the_access_is_recorded(self) -> None:
        self.assertEqual(self.statuses(self.talk, self.file), {403})
        self.reader.post(f"{LIST}{self.talk.pk}/change/", {"reason": REASON})
        self.assertEqual(self.new_entries(), [])
        self.assertEqual(self.statuses(self.talk, self.file), {403})
        self.reader.get(f"{LIST}{self.talk.pk}/change/")
        self.assertEqual(len(self.new_entries()), 1)
        response = self.reader.get(addresses(self.talk, self.file)[1])
        self.assertEqual(opened(response.content).size, (512, 341))
        self.assertIn("no-store", response.headers["Cache-Control"])
        self.assertEqual(response.headers["Content-Security-Policy"], "sandbox; default-src 'none'")

    def test_a_transcript_opens_its_own_files_alone(self) -> None:
        other_talk, other_file = illustrated(self.alice, "seal.png", picture(size=(30, 30)))
        self.read(self.talk)
        self.assertEqual(self.statuses(self.talk, other_file), {404})
        self.assertEqual(self.statuses(other_talk, other_file), {403})
        self.assertEqual(self.statuses(self.talk, File(pk=uuid.uuid4())), {404})
        for name in ("x", "file-", f"file-{'g' * 32}", "%00", ".."):
            self.assertEqual(self.reader.get(f"{LIST}{self.talk.pk}/files/{name}/").status_code, 404, name)

    def test_a_message_that_names_somebody_elses_file_does_not_show_it(self) -> None:
        stranger = register_user(username=f"bob-{uuid.uuid4().hex[:8]}")
        _, foreign = illustrated(stranger, "private.png")
        refer_to(foreign, self.talk)
        self.read(self.talk)
        self.assertEqual(self.statuses(self.talk, foreign), {404})
        shown = self.reader.get(f"{LIST}{self.talk.pk}/change/")
        self.assertNotContains(shown, "private.png")
        self.assertContains(shown, "no longer available")

    def test_a_file_that_could_not_be_read_says_so(self) -> None:
        talk, file = illustrated(self.alice, "broken.pdf", b"%PDF-1.7")
        FileText.objects.of(file.owner_id, file.sha256).update(state="failed", reason="damaged")
        self.read(talk)
        shown = self.reader.get(f"{LIST}{talk.pk}/change/")
        self.assertContains(shown, "<small>The text of this file cannot be read: the file is damaged.</small>")

    def test_another_readers_reason_opens_nothing(self) -> None:
        self.read(self.talk)
        other = self.signed_in(staff("other", "view", "read_content"))
        for address in addresses(self.talk, self.file):
            self.assertEqual(other.get(address).status_code, 403)

    def test_a_search_that_found_the_conversation_opens_nothing(self) -> None:
        AccessLogEntry.objects.create(
            kind="search", reader_id=self.carol.pk, reader_name="carol", owner_id=self.alice.pk,
            conversation_id=self.talk.pk, reason=REASON,
        )  # fmt: skip
        self.assertEqual(self.statuses(self.talk, self.file), {403})

    def test_it_ends_with_the_time_of_the_reason_and_with_the_permission(self) -> None:
        long_ago = timezone.now() - dt.timedelta(minutes=20)
        AccessLogEntry.objects.create(
            id=first_id_of(long_ago), kind="transcript", reader_id=self.carol.pk, reader_name="carol",
            owner_id=self.alice.pk, conversation_id=self.talk.pk, reason=REASON,
        )  # fmt: skip
        self.assertEqual(self.statuses(self.talk, self.file), {403})
        self.read(self.talk)
        with override_settings(STAFF_CONTENT_ACCESS=False):
            self.assertEqual(self.statuses(self.talk, self.file), {403})
        self.carol.user_permissions.clear()
        self.assertEqual(self.statuses(self.talk, self.file), {403})

    def test_a_broken_picture_and_a_lost_one_are_not_there(self) -> None:
        talk, file = illustrated(self.alice, "broken.png", picture()[:60])
        self.read(talk)
        self.assertEqual(self.reader.get(addresses(talk, file)[1]).status_code, 404)
        File.objects.filter(pk=file.pk).update(sha256="0" * 64)
        self.assertEqual(self.statuses(talk, file), {404})


@tried_once
class ContentTest(ServiceTestCase):
    def test_a_picture_is_shown_and_anything_else_saved(self) -> None:
        carol = staff("carol", "view", "read_content")
        browser = httpx2.Client(base_url=self.service.url, headers=signed_in(carol, self.service), trust_env=False)
        self.addCleanup(browser.close)
        for name, content, disposition in (
            ("whale.png", picture(), "inline"),
            ("whale.html", b"<script>alert(1)</script>", "attachment"),
            ("whale.tif", picture("TIFF"), "attachment"),
        ):
            talk, file = illustrated(self.alice.user, name, content)
            AccessLogEntry.objects.create(
                kind="transcript", reader_id=carol.pk, reader_name="carol", owner_id=talk.owner_id,
                conversation_id=talk.pk, reason=REASON,
            )  # fmt: skip
            response = browser.get(addresses(talk, file)[0])
            self.assertEqual((response.status_code, response.content), (200, content))
            self.assertEqual(response.headers["Content-Disposition"], f'{disposition}; filename="{name}"')
            self.assertEqual(response.headers["X-Content-Type-Options"], "nosniff")
            self.assertTrue(response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'"))
            self.assertIn("no-store", response.headers["Cache-Control"])
