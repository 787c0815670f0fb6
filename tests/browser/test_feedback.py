"""Thumbs on an answer, and a word with them: by mouse and by keyboard, and after a reload."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from chatservice.testing import tried_once, wait_until
from feedback.models import Feedback
from tests.browser.chatting import ChatCase


@tried_once
class FeedbackTest(ChatCase):
    def thumb(self, name: str) -> Locator:
        return self.answers().last.get_by_role("button", name=name)

    def stored_feedback(self) -> list[tuple[str, str]]:
        return list(Feedback.objects.filter(user=self.user).values_list("rating", "comment"))

    def is_stored(self, *wanted: tuple[str, str]) -> None:
        wait_until(lambda: self.stored_feedback() == list(wanted), what=f"{wanted} in the database")

    def test_a_thumb_and_a_word_are_kept_changed_and_taken_back(self) -> None:
        talk = self.talk("When did it end?", "In 1658.", title="A war")
        self.open(f"/#{talk.pk}")
        good, bad = self.thumb("Good answer"), self.thumb("Bad answer")
        expect(good).to_have_attribute("aria-pressed", "false")
        bad.click()
        expect(bad).to_have_attribute("aria-pressed", "true")
        self.is_stored(("down", ""))
        field = self.page.get_by_label("What was wrong?")
        field.fill("It was <b>1648</b>.")
        self.assert_accessible()
        self.page.get_by_role("button", name="Send feedback").click()
        expect(field).to_have_count(0)
        expect(bad).to_be_focused()
        self.is_stored(("down", "It was <b>1648</b>."))

        self.page.emulate_media(color_scheme="dark")
        self.page.reload()
        self.is_ready()
        expect(bad).to_have_attribute("aria-pressed", "true")
        expect(self.answers().last).to_contain_text("It was <b>1648</b>.")
        self.assert_accessible()

        good.focus()  # the rest by keyboard alone; the word stays with the other thumb
        self.page.keyboard.press("Enter")
        expect(good).to_have_attribute("aria-pressed", "true")
        expect(bad).to_have_attribute("aria-pressed", "false")
        expect(self.page.get_by_label("What was good?")).to_have_value("It was <b>1648</b>.")
        self.page.get_by_label("What was good?").focus()
        self.page.keyboard.press("ControlOrMeta+A")
        self.page.keyboard.type("Short.")
        self.page.keyboard.press("Enter")
        expect(good).to_be_focused()
        self.is_stored(("up", "Short."))
        self.page.get_by_role("button", name="Change", exact=True).press("Enter")
        expect(self.page.get_by_label("What was good?")).to_be_focused()
        self.page.keyboard.type(" No, wait")
        self.page.keyboard.press("Escape")
        expect(good).to_be_focused()
        expect(self.answers().last).to_contain_text("Short.")
        self.page.keyboard.press("Space")
        expect(good).to_have_attribute("aria-pressed", "false")
        self.is_stored()
        self.page.reload()
        self.is_ready()
        expect(good).to_have_attribute("aria-pressed", "false")
        expect(self.answers().last).not_to_contain_text("Short.")
