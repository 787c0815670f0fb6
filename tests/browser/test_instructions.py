"""Instructions and parameters of a conversation: set before its first question, marked, changed, sent to the model.

And one's own default of them, which the profile sets and each new chat shows, changes or leaves out.
"""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, expect

from accounts.models import User
from chatservice.testing import tried_once
from conversations.models import Conversation
from tests.browser.case import PHONE
from tests.browser.chatting import ChatCase

FIRST, LATER = "Answer in verse.\nAlways.", "Answer in prose."


@tried_once
class InstructionsTest(ChatCase):
    viewport = PHONE

    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog", name="Instructions")

    def sent(self) -> dict[str, Any]:
        return self.upstream.posts[-1].body

    def test_a_new_chat_gets_them_and_its_menu_changes_them(self) -> None:
        self.open(model="fake/ok")
        offered = self.page.get_by_role("button", name="Instructions", exact=True)
        mark = self.page.get_by_role("button", name="Instructions are set")
        offered.click()
        expect(self.dialog().get_by_label("Instructions")).to_be_focused()
        self.dialog().get_by_label("Instructions").fill(FIRST)
        temperature = self.dialog().get_by_label("Temperature")
        temperature.fill("3")
        temperature.press("Enter")  # the browser says that it is too much
        expect(self.dialog()).to_be_visible()
        self.assert_accessible()
        self.assertLessEqual(self.page.evaluate("document.documentElement.scrollWidth"), PHONE["width"])
        temperature.fill("0.5")
        temperature.press("Enter")
        expect(self.dialog()).to_have_count(0)
        expect(mark).to_be_focused()
        self.page.reload()
        self.is_ready()
        expect(mark).to_be_visible()
        self.ask("Hello")
        self.is_answered()
        self.assertEqual(self.sent()["messages"][0], {"role": "system", "content": FIRST})
        self.assertEqual(self.sent()["temperature"], 0.5)
        self.assertEqual(self.conversation().generation, {"instructions": FIRST, "temperature": 0.5})
        self.page.locator("header").get_by_role("button", name="New chat").click()
        expect(offered).to_be_visible()  # the next one has none
        self.page.go_back()
        expect(mark).to_be_visible()
        self.page.locator("#talk-menu").click()
        offered.click()
        expect(self.dialog().get_by_label("Instructions")).to_have_value(FIRST)
        self.dialog().get_by_label("Instructions").fill(LATER)
        self.dialog().get_by_label("Temperature").fill("")
        self.dialog().get_by_label("Reasoning effort").select_option("low")
        self.dialog().get_by_role("button", name="Save").click()
        expect(self.dialog()).to_have_count(0)
        self.ask("And now?")
        self.is_answered()
        self.assertEqual(self.sent()["messages"][0]["content"], LATER)
        self.assertEqual((self.sent()["reasoning_effort"], "temperature" in self.sent()), ("low", False))
        self.page.reload()
        mark.click()
        expect(self.dialog().get_by_label("Instructions")).to_have_value(LATER)
        self.dialog().get_by_label("Instructions").fill("")
        self.page.keyboard.press("Escape")
        expect(self.dialog()).to_have_count(0)
        self.assertEqual(self.conversation().generation, {"instructions": LATER, "reasoning_effort": "low"})
        mark.click()
        self.dialog().get_by_label("Instructions").fill("")
        self.dialog().get_by_label("Reasoning effort").select_option("")
        self.dialog().get_by_role("button", name="Save").click()
        expect(mark).to_have_count(0)
        self.assertIsNone(self.conversation().generation)

    def test_new_chats_begin_with_those_of_the_profile_which_they_can_leave_out(self) -> None:
        self.open("/profile")
        state = self.page.locator("#default-instructions-state")
        expect(state).to_have_text("None are set.")
        button = self.page.get_by_role("button", name="Instructions…")
        button.press("Enter")
        self.dialog().get_by_label("Instructions").fill(FIRST)
        self.assert_accessible()
        self.assertLessEqual(self.page.evaluate("document.documentElement.scrollWidth"), PHONE["width"])
        self.dialog().get_by_role("button", name="Save").press("Enter")
        expect(state).to_have_text("New conversations begin with some.")
        expect(button).to_be_focused()
        self.assert_accessible()
        self.assertEqual(User.objects.get(pk=self.user.pk).default_generation, {"instructions": FIRST})
        self.open(model="fake/ok")
        mark = self.page.get_by_role("button", name="Instructions are set")
        mark.click()
        expect(self.dialog().get_by_label("Instructions")).to_have_value(FIRST)
        self.page.keyboard.press("Escape")
        self.ask("Hello")
        self.is_answered()
        self.assertEqual(self.sent()["messages"][0], {"role": "system", "content": FIRST})
        self.assertEqual(self.conversation().generation, {"instructions": FIRST})
        expect(mark).to_be_visible()
        self.page.locator("header").get_by_role("button", name="New chat").click()
        mark.click()
        self.dialog().get_by_label("Instructions").fill("")
        self.dialog().get_by_role("button", name="Save").click()
        expect(mark).to_have_count(0)
        self.page.reload()
        self.is_ready()
        expect(mark).to_have_count(0)  # it is remembered that this one gets none
        self.ask("Without")
        self.is_answered()
        self.assertEqual(self.sent()["messages"][0], {"role": "user", "content": "Without"})
        newest = Conversation.objects.filter(owner=self.user).order_by("-created_at")[0]
        self.assertIsNone(newest.generation)
        self.page.locator("header").get_by_role("button", name="New chat").click()
        expect(mark).to_be_visible()  # and the next one has the default again
