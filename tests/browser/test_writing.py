"""Writing in any script and length: an input method's Enter sends nothing, and nothing that was written is lost."""

from __future__ import annotations

from django.conf import settings
from playwright.sync_api import Locator, expect

from chatservice.testing import tried_once
from conversations.models import Conversation
from tests.browser.chatting import ChatCase

# The Enter that ends a composition: as the standard has it, and as Safari does, after the end of the composition.
COMPOSING = ({"isComposing": True, "keyCode": 13}, {"isComposing": False, "keyCode": 229})
PRESS = """(field, how) => {
  const event = new KeyboardEvent("keydown", { key: "Enter", code: "Enter", bubbles: true, cancelable: true, ...how });
  return field.dispatchEvent(event);
}"""
HEBREW, ENGLISH = "שלום עולם, from here", "Hello, שלום"
MIXED = f"{HEBREW}\n\n{ENGLISH}\n\n```python\n# שלום\nprint(1)\n```"
# Left and right of a paragraph's text, and of the paragraph.
EDGES = """paragraph => {
  const text = new Range();
  text.selectNodeContents(paragraph);
  return [text, paragraph].map((each) => each.getBoundingClientRect()).map((box) => [box.left, box.right]);
}"""
DIRECTION = "element => getComputedStyle(element).direction"


@tried_once
class CompositionTest(ChatCase):
    def press(self, field: Locator) -> None:
        """Press Enter in `field` as an input method does; the page must leave the event alone."""
        for how in COMPOSING:
            self.assertTrue(field.evaluate(PRESS, how), how)

    def test_the_composer_sends_nothing_until_the_word_is_chosen(self) -> None:
        self.open()
        field = self.page.get_by_label("Message", exact=True)
        field.fill("日本語")
        self.press(field)
        expect(field).to_have_value("日本語")
        expect(self.page.locator("article")).to_have_count(0)
        self.assertFalse(Conversation.objects.filter(owner=self.user).exists())
        field.press("Enter")
        self.is_answered()
        self.assertEqual(self.stored()[0].content, "日本語")

    def test_nor_do_editor_dialog_and_search(self) -> None:
        talk = self.talk("A question", "An answer", title="Before")
        self.open(f"/#{talk.pk}")
        self.page.locator("article.mine").get_by_role("button", name="Edit message").click()
        editor = self.page.get_by_role("textbox", name="Edit message")
        editor.fill("한국어")
        self.press(editor)
        # An input method is left by Escape; the editor is not.
        editor.evaluate(PRESS, {"key": "Escape", "keyCode": 229})
        expect(editor).to_have_value("한국어")
        self.assertEqual(len(self.stored()), 2)
        editor.press("Escape")
        expect(editor).to_have_count(0)

        self.page.locator("#talk-menu").click()
        self.page.get_by_role("button", name="Rename").click()
        title = self.page.locator("dialog").get_by_label("Title")
        title.fill("中文")
        self.press(title)
        expect(title).to_be_visible()
        title.press("Enter")
        expect(self.page.locator("#title")).to_have_text("中文")

        box = self.page.get_by_label("Search messages")
        box.fill("question")
        expect(self.page.locator("#hits a").first).to_be_visible()
        asked = len(self.requests)
        self.press(box)
        self.assertEqual(len(self.requests), asked)

    def test_the_lines_of_a_question_stay_lines(self) -> None:
        self.open()
        self.ask("Roses are red\nViolets are blue\n\n- one\n- two")
        body = self.page.locator("article.mine .body")
        for _ in range(2):
            self.is_answered()
            self.assertEqual(body.inner_text().split("\n")[:2], ["Roses are red", "Violets are blue"])
            expect(body.locator("li")).to_have_count(2)
            self.page.reload()

    def test_a_paste_that_is_too_long_stays_whole_until_it_is_shortened(self) -> None:
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.open()
        pasted = "🙂" + "word " * (settings.LIMIT_MESSAGE_CHARS // 5) + "and the end"
        self.page.evaluate("text => navigator.clipboard.writeText(text)", pasted)
        field = self.page.get_by_label("Message", exact=True)
        field.press("Control+v")
        expect(field).to_have_value(pasted)
        excess = len(pasted) - settings.LIMIT_MESSAGE_CHARS
        expect(self.page.get_by_text(f"This is {excess} characters too long")).to_be_visible()
        expect(self.page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
        field.press("Enter")
        expect(field).to_have_value(pasted)
        for _ in range(excess):
            field.press("Backspace")
        expect(self.page.get_by_text("characters too long")).to_be_hidden()
        field.press("Enter")
        self.is_answered()
        self.assertEqual(self.stored()[0].content, pasted[:-excess])


@tried_once
class DirectionTest(ChatCase):
    def direction(self, place: Locator) -> str:
        return place.evaluate(DIRECTION)

    def test_what_people_write_runs_in_its_own_direction(self) -> None:
        talk = self.talk(HEBREW, MIXED, title=HEBREW)
        self.talk(ENGLISH, "An answer", title=ENGLISH)
        self.open(f"/#{talk.pk}")
        first, answer = self.page.locator(".message .body").first, self.page.locator(".message.theirs .body")
        expect(first).to_contain_text("שלום")
        links = self.page.locator("#conversations a")
        for place, direction in (
            (first, "rtl"),
            (answer, "rtl"),
            (answer.locator("pre"), "ltr"),
            (self.page.locator("#title"), "rtl"),
            (links.filter(has_text=HEBREW), "rtl"),
            (links.filter(has_text=ENGLISH), "ltr"),
        ):
            self.assertEqual(self.direction(place), direction, place)
        # Each paragraph begins at the side of its own first letter.
        hebrew, english = (answer.locator("p").nth(number) for number in (0, 1))
        (text, box) = hebrew.evaluate(EDGES)
        self.assertAlmostEqual(text[1], box[1], delta=2)
        (text, box) = english.evaluate(EDGES)
        self.assertAlmostEqual(text[0], box[0], delta=2)

    def test_fields_and_hits_do_too(self) -> None:
        talk = self.talk(HEBREW, HEBREW, title=HEBREW)
        self.open(f"/#{talk.pk}")
        field = self.page.get_by_label("Message", exact=True)
        for text, direction in ((HEBREW, "rtl"), (ENGLISH, "ltr")):
            field.fill(text)
            self.assertEqual(self.direction(field), direction)
        self.page.locator("article.mine").get_by_role("button", name="Edit message").click()
        self.assertEqual(self.direction(self.page.get_by_role("textbox", name="Edit message")), "rtl")
        self.find("שלום")
        hit = self.page.locator("#hits a", has=self.page.locator("mark"))
        expect(hit).to_have_count(1)
        for place in (hit.locator("strong"), hit.locator(".snippet"), self.page.get_by_label("Search messages")):
            self.assertEqual(self.direction(place), "rtl")
