"""Importing history on the profile: a file, its progress also after a reload, the result, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import expect

from chatservice.testing import needs_dialect, running_service, tried_once, wait_until
from conversations.models import Conversation
from conversations.tests.exports import chat, node, write_zip
from files.models import File
from imports.models import HistoryImport
from tests.browser.case import PHONE
from tests.browser.chatting import ChatCase

needs_dialect("chat_v1")
needs_dialect("openai_v1")
SAMPLES = Path(__file__).resolve().parents[2] / "conversations" / "tests" / "imports"


@tried_once
class ImportsTest(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(TemporaryDirectory()))

    def choose(self, path: Path) -> None:
        self.page.get_by_label("File to import").set_input_files(path)
        self.page.get_by_role("button", name="Import", exact=True).press("Enter")

    def is_told(self, *texts: str) -> None:
        for text in texts:
            expect(self.page.locator("#import-state")).to_contain_text(text)
            expect(self.page.locator("#import-told")).to_contain_text(text)

    def talks(self, count: int) -> list[dict[str, Any]]:
        return [chat(f"talk{at}", node("q", None), node("a", "q", "assistant")) for at in range(count)]

    def test_a_zip_is_imported_and_again_adds_nothing(self) -> None:
        pointer = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-AbC123"}
        content = {"content_type": "multimodal_text", "parts": [pointer, "A cat"]}
        talks = [*self.talks(2), chat("cat", node("q", None, content=content)), {"title": "Nothing", "id": "x"}]
        path = write_zip(self.folder / "export.zip", {"conversations.json": talks, "file-AbC123-cat.txt": b"meow"})
        self.open("/profile")
        self.choose(path)
        self.is_told("“export.zip” is finished: 3 conversations added, 1 refused; 5 messages and 1 file.")
        self.page.get_by_text("What was not imported, and why").click()
        expect(self.page.locator("#import-details li")).to_contain_text(['"Nothing" (x)'])
        self.assert_accessible()
        # The uploaded file is not kept, the picture is.
        mine = File.objects.filter(owner=self.user)
        wait_until(lambda: mine.get().from_message, what="the end of the uploaded file")
        self.choose(path)
        self.is_told("is finished: 3 already here, 1 refused.")
        expect(self.page.locator("#storage")).to_contain_text("Stored: 5 ")
        self.page.get_by_role("link", name="Chat").click()
        expect(self.page.get_by_role("link", name="About talk1")).to_be_visible()

    def test_samples_of_what_others_export_are_imported(self) -> None:
        self.open("/profile")
        for name in ("canvas.json", "claude_artifact.json", "utf16.json"):
            before = Conversation.objects.filter(owner=self.user).count()
            self.choose(SAMPLES / name)
            self.is_told(f"“{name}” is finished", "added")
            self.assertGreater(Conversation.objects.filter(owner=self.user).count(), before)

    def test_a_file_that_is_no_export_is_refused_in_a_sentence(self) -> None:
        letter = self.folder / "letter.json"
        letter.write_text("Dear Sir or Madam")
        empty = self.folder / "empty.json"
        empty.touch()
        other = write_zip(self.folder / "other.zip", {"notes.txt": b"Nothing"})
        self.open("/profile")
        for path, told in (
            (letter, "“letter.json” was not imported: it is cut off or not valid JSON"),
            (empty, "“empty.json” is empty"),
            (other, "“other.zip” was not imported: there is no conversations.json"),
        ):
            self.choose(path)
            self.is_told(told, "Choose the zip of an export")
        self.page.reload()
        expect(self.page.locator("#import-state")).to_contain_text("“other.zip” was not imported")
        self.assertEqual(Conversation.objects.filter(owner=self.user).count(), 0)

    def test_progress_is_shown_after_a_reload_and_cancelled(self) -> None:
        told = {"file_name": "export.zip", "state": "running", "size": 100, "read": 40, "created": 7}
        # A process far away works on it.
        row = HistoryImport.objects.create(
            owner=self.user, file_id=self.user.pk, claimed_until="2999-01-01T00:00:00Z", **told
        )
        mine = HistoryImport.objects.filter(pk=row.pk)
        self.open("/profile")
        for read in (40, 60):
            mine.update(read=read)
            self.page.reload()
            self.is_told("“export.zip” is being imported: 7 conversations so far")
            expect(self.page.get_by_role("progressbar", name="Progress of the import")).to_have_js_property(
                "value", read / 100
            )
            expect(self.page.get_by_role("button", name="Import", exact=True)).to_be_disabled()
        mine.update(read=80)
        expect(self.page.locator("#import-told")).to_contain_text("75 percent")
        self.assert_accessible()
        self.page.get_by_role("button", name="Cancel the import").press("Enter")
        wait_until(lambda: mine.get().is_cancelling, what="the wish to cancel")
        mine.update(state="cancelled")
        self.is_told("The import of “export.zip” was cancelled. 7 conversations added.")
        expect(self.page.get_by_role("button", name="Import", exact=True)).to_be_enabled()

    def test_another_import_that_is_not_over_is_told_on_a_phone_in_the_dark(self) -> None:
        self.page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        self.page.emulate_media(color_scheme="dark")
        self.open("/profile")
        row = HistoryImport.objects.create(
            owner=self.user, file_id=self.user.pk, file_name="a", claimed_until="2999-01-01T00:00:00Z"
        )
        path = self.folder / "conversations.json"
        path.write_text(json.dumps(self.talks(1)))
        self.network_may_fail = True  # the refusal is in the console
        self.choose(path)
        self.is_told("Another import of this account is not over")
        self.assert_accessible()
        self.assertLessEqual(self.page.evaluate("document.documentElement.scrollWidth"), PHONE["width"])
        row.delete()


@tried_once
class LimitsTest(ChatCase):
    def test_what_is_too_large_is_told_before_it_is_sent_and_an_account_that_is_full_by_conversation(self) -> None:
        service = self.enterContext(running_service(LIMIT_FILE_BYTES="1000000", LIMIT_CONVERSATIONS_PER_USER="1"))
        self.home = service.url
        self.sign_in(self.user)
        folder = Path(self.enterContext(TemporaryDirectory()))
        self.page.goto(f"{self.home}/profile")
        self.is_ready()
        expect(self.page.locator("#import-about")).to_contain_text("of at most 1 MB")
        large, usual = folder / "large.json", folder / "usual.json"
        large.write_bytes(b" " * 1_200_000)
        usual.write_text(json.dumps([chat(f"talk{at}", node("q", None)) for at in range(3)]))
        state = self.page.locator("#import-state")
        for path, told in (
            (large, "“large.json” is too large: it has 1.2 MB, and this page takes 1 MB."),
            (usual, "is finished: 1 conversation added, 2 refused; 1 message."),
        ):
            self.page.get_by_label("File to import").set_input_files(path)
            self.page.get_by_role("button", name="Import", exact=True).click()
            expect(state).to_contain_text(told)
        self.page.get_by_text("What was not imported, and why").click()
        refused = self.page.locator("#import-details li")
        expect(refused).to_contain_text(["the account is full", "the account is full"])
        self.assertEqual([url for url in self.requests if url.endswith("/v1/files")], [f"{self.home}/v1/files"])
