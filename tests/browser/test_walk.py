"""A walk through what people do most, on each database: the other tests of pages are tried on one (`tried_once`)."""

from __future__ import annotations

import re
import uuid

from playwright.sync_api import FilePayload, expect

from accounts.services import register_user
from chatservice.testing import needs_dialect
from conversations.models import AccessLogEntry, Conversation, Message
from tests.browser.chatting import HELD, ChatCase, flat
from tests.staff import LIST, REASON, staff

PASSWORD = "a long enough phrase"
needs_dialect("openai_v1")  # files are uploaded there


class WalkTest(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        self.context.clear_cookies()
        self.user = register_user(username=f"alice-{uuid.uuid4().hex[:12]}", password=PASSWORD)

    def enter(self, path: str = "/") -> None:
        self.page.goto(f"/login?next={path}")
        self.page.get_by_label("Username").fill(self.user.username)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(f"**{path}")

    def act(self, action: str) -> None:
        self.page.get_by_role("button", name="Actions for this conversation").click()
        self.page.locator("#menu").get_by_role("button", name=action, exact=True).click()

    def test_signing_in_attaching_streaming_stopping_and_editing(self) -> None:
        self.enter()
        self.page.evaluate("model => localStorage.setItem('model', JSON.stringify(model))", HELD)
        self.page.reload()
        self.is_ready()
        notes = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"Whales sleep near the surface.")
        self.page.locator("#file").set_input_files(notes)
        chip = self.page.get_by_role("list", name="Attached files").get_by_role("listitem")
        expect(chip).to_contain_text("notes.txt")
        expect(chip.get_by_role("progressbar")).to_have_count(0)
        self.ask("What do the notes say about saffron?")
        self.says_a_part()
        self.page.get_by_role("button", name="Stop the answer").click()
        expect(self.page.locator(".state").first).to_have_text(re.compile("^Stopped."))
        self.is_answered()
        answer = self.stored()[-1]
        self.assertEqual(answer.status, Message.Status.CANCELLED)
        self.page.reload()
        expect(self.page.locator("article.mine").get_by_role("link", name="notes.txt")).to_be_visible()
        self.assertEqual(self.shown(self.answers().last), flat(answer.content))

        self.page.get_by_label("Model").select_option("")
        self.page.locator("article.mine").hover()
        self.page.locator("article.mine").get_by_role("button", name="Edit message").click()
        field = self.page.get_by_role("textbox", name="Edit message")
        field.fill("And about pepper?")
        field.press("Enter")
        self.is_answered()
        self.says("And about pepper?")
        self.page.get_by_role("button", name="Previous version").click()
        expect(self.page.get_by_text("1/2")).to_be_visible()
        self.page.reload()
        expect(self.page.locator("article.mine")).to_contain_text("saffron")
        self.assertEqual([row.role for row in self.stored()], ["user", "assistant"] * 2)

    def test_a_conversation_is_found_renamed_pinned_and_deleted(self) -> None:
        talk = self.talk("Where is the saffron?", "In the cupboard", title="Spices")
        self.talk("Something else", "Entirely", title="Other")
        self.enter()
        self.is_ready()
        self.find("saffron")
        self.page.locator("#hits a").click()
        expect(self.page.locator("article.mine")).to_be_focused()
        self.act("Rename")
        self.page.get_by_label("Title").fill("Kitchen")
        self.page.get_by_label("Title").press("Enter")
        expect(self.page).to_have_title("Kitchen · Chat")
        self.page.get_by_label("Search messages").fill("")
        self.act("Pin")
        expect(self.page.get_by_role("heading", name="Pinned")).to_be_visible()
        self.page.reload()
        expect(self.page.locator("#conversations a").first).to_have_text("Kitchen")
        self.act("Delete")
        self.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(self.page.get_by_role("link", name="Kitchen")).to_have_count(0)
        self.assertFalse(Conversation.objects.filter(pk=talk.pk).exists())

    def test_staff_read_a_transcript_with_a_reason_and_its_owner_sees_that(self) -> None:
        talk = self.talk("Where is the saffron?", "In the **cupboard**", title="Spices")
        reader = staff("carol", "view", "read_content")
        self.sign_in(reader)
        self.page.goto(f"{LIST}{talk.pk}/change/")
        self.give_reason("Read the conversation")
        expect(self.page.locator(".transcript .markdown strong")).to_have_text("cupboard")
        self.assertEqual(AccessLogEntry.objects.filter(owner_id=self.user.pk, reader_id=reader.pk).count(), 1)
        self.context.clear_cookies()
        self.enter("/profile")
        expect(self.page.locator("#access-log tr")).to_contain_text(REASON)
