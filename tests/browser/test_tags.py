"""Tags on the chat page: set in a dialog, and the list shows only the conversations that have one."""

from __future__ import annotations

import datetime as dt

from django.utils import timezone
from playwright.sync_api import expect

from chatservice.testing import tried_once
from conversations.models import Conversation
from conversations.services import update_conversation
from tests.browser.case import PHONE
from tests.browser.chatting import ChatCase


@tried_once
class TagsTest(ChatCase):
    def test_a_conversation_is_tagged_with_the_keyboard_and_found_by_its_tag(self) -> None:
        self.talk("Hello", "Hi", title="Nothing on it")
        old = self.talk("Hello", "Hi", title="To be found", updated_at=timezone.now() - dt.timedelta(days=60))
        other = self.talk("Hello", "Hi", title="Something else")
        update_conversation(conversation=other, tags=["Travel"])
        Conversation.objects.bulk_create(Conversation(owner=self.user, title=f"Newer {at}") for at in range(35))
        self.open()
        chips, links = self.page.get_by_role("group", name="Only with the tag"), self.page.locator("#conversations a")
        expect(chips.get_by_role("button")).to_have_text(["Travel"])
        self.open(f"/#{old.pk}")
        self.page.locator("#talk-menu").click()
        self.page.get_by_role("button", name="Tags", exact=True).press("Enter")
        dialog = self.page.get_by_role("dialog", name="Tags")
        field = dialog.get_by_label("New tag")
        expect(field).to_be_focused()
        for text in (" Work  at home ", "travel", "TRAVEL", "<b>אחד</b>"):
            field.fill(text)
            field.press("Enter")
        expect(dialog.get_by_role("listitem")).to_have_text(["Work at home", "travel", "<b>אחד</b>"])
        self.assert_accessible()
        dialog.get_by_role("button", name="Remove <b>אחד</b>").press("Enter")
        expect(field).to_be_focused()
        field.press("Enter")  # saves what is there
        expect(dialog).to_have_count(0)
        self.assertEqual(Conversation.objects.get(pk=old.pk).tag_names, ["travel", "Work at home"])
        work = chips.get_by_role("button", name="Work at home")
        work.press("Enter")
        expect(links).to_have_text(["To be found"])
        expect(work).to_have_attribute("aria-pressed", "true")
        expect(work).to_be_focused()
        self.assert_accessible()
        chips.get_by_role("button", name="Travel").click()
        expect(links).to_have_text(["Something else", "To be found"])
        expect(work).to_have_attribute("aria-pressed", "false")
        chips.get_by_role("button", name="Travel").click()
        expect(links).to_have_count(30)
        # The last tag goes, and with it what was chosen.
        work.click()
        expect(links).to_have_count(1)
        self.page.locator("#talk-menu").click()
        self.page.get_by_role("button", name="Tags", exact=True).click()
        for name in ("Remove Work at home", "Remove travel"):
            dialog.get_by_role("button", name=name).click()
        dialog.get_by_role("button", name="Save").click()
        expect(chips.get_by_role("button")).to_have_text(["Travel"])
        expect(links).to_have_count(30)
        self.assertEqual(Conversation.objects.get(pk=old.pk).tag_names, [])

    def test_tags_that_are_refused_stay_in_the_dialog_on_a_phone_in_the_dark(self) -> None:
        talk = self.talk("Hello", "Hi", title="Much on it")
        update_conversation(conversation=talk, tags=[f"tag number {at:02} with many letters" for at in range(20)])
        phone = self.new_context(viewport=PHONE, color_scheme="dark")
        self.sign_in(self.user, phone)
        page = self.open(f"/#{talk.pk}", page=phone.new_page())
        page.locator("#talk-menu").click()
        page.get_by_role("button", name="Tags", exact=True).click()
        dialog = page.get_by_role("dialog", name="Tags")
        dialog.get_by_label("New tag").fill("one more")
        dialog.get_by_role("button", name="Save").click()
        expect(dialog.get_by_role("alert")).to_contain_text("20 tags")
        expect(dialog.get_by_role("listitem")).to_have_count(21)
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), PHONE["width"])
        self.assert_accessible(page)
        dialog.get_by_role("button", name="Remove one more").click()
        dialog.get_by_role("button", name="Save").click()
        expect(dialog).to_have_count(0)
        page.get_by_role("button", name="Conversations and search").click()
        expect(page.get_by_role("group", name="Only with the tag").get_by_role("button")).to_have_count(20)
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), PHONE["width"])
        self.assert_accessible(page)
