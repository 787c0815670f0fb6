"""A long conversation: nobody who reads is moved, and all of it can be reached."""

from __future__ import annotations

from playwright.sync_api import expect

from chatservice.testing import tried_once
from conversations.models import Conversation, Message
from tests.browser.case import PHONE
from tests.browser.chatting import ChatCase

# How the part of the messages that is seen and the button that leads to their end overlap: only if all is true.
SEEN_AND_BUTTON = """() => {
  const boxOf = (id) => document.getElementById(id).getBoundingClientRect();
  const [messages, scroller, button] = ["messages", "scroller", "to-end"].map(boxOf);
  return [
    ...[messages.right > button.left, messages.left < button.right],
    ...[scroller.bottom > button.top, scroller.top < button.bottom],
  ];
}"""
# Scrolls up after the page followed what grew and before it hears that it did; returns where to.
UP_AFTER_GROWTH = """async () => {
  const [messages, scroller] = ["messages", "scroller"].map((id) => document.getElementById(id));
  const frame = () => new Promise(requestAnimationFrame);
  let left = null;
  messages.lastElementChild.append("word ".repeat(400));
  const watch = new ResizeObserver(() => (left ??= scroller.scrollTop -= 100));
  watch.observe(messages);
  while (left === null) await frame();
  watch.disconnect();
  return left;
}"""
GROW = """async () => {
  document.getElementById("messages").lastElementChild.append("word ".repeat(400));
  for (const _ of "12") await new Promise(requestAnimationFrame);
  return document.getElementById("scroller").scrollTop;
}"""


@tried_once
class LongConversationTest(ChatCase):
    def test_growth_pulls_nobody_back_who_scrolls_up_from_the_end(self) -> None:
        talk = self.talk(*["word " * 200] * 10)
        self.open(f"/#{talk.pk}")
        left = self.page.evaluate(UP_AFTER_GROWTH)
        self.assertAlmostEqual(self.page.evaluate(GROW), left, delta=2)

    def test_one_short_step_up_leaves_the_end(self) -> None:
        talk = self.talk(*["word " * 200] * 10)
        self.open(f"/#{talk.pk}")
        end = self.page.evaluate(GROW)
        self.page.locator("#scroller").hover()
        self.page.mouse.wheel(0, -20)
        self.page.wait_for_function("end => document.getElementById('scroller').scrollTop < end - 10", arg=end)
        self.assertLess(self.page.evaluate(GROW), end)

    def test_the_button_that_leads_to_the_end_lies_over_no_text(self) -> None:
        talk = self.talk(*["word " * 200] * 10)
        self.open(f"/#{talk.pk}")
        for width in (1440, 1180, 1024, PHONE["width"]):
            self.page.set_viewport_size({"width": width, "height": 800})
            self.page.locator("#scroller").evaluate("box => box.scrollTop -= 600")
            button = self.page.get_by_role("button", name="Jump to the latest message")
            expect(button).to_be_visible()
            self.assertIn(False, self.page.evaluate(SEEN_AND_BUTTON), width)
            self.assertLessEqual(self.page.evaluate("document.documentElement.scrollWidth"), width)
            self.shot(f"to-end-{width}")
            button.click()
            expect(button).to_be_hidden()

    def test_two_thousand_messages_can_be_scrolled_through(self) -> None:
        talk = Conversation.objects.create(owner=self.user, title="Long")
        rows = [
            Message(
                conversation=talk, position=number, role="user" if number % 2 else "assistant", content=f"Nr. {number}."
            )
            for number in range(1, 2_001)
        ]
        for row, after in zip(rows, rows[1:], strict=False):
            after.parent = row
        Message.objects.bulk_create(rows)
        Conversation.objects.filter(pk=talk.pk).update(head=rows[-1], next_position=2_001)
        self.open(f"/#{talk.pk}")
        expect(self.page.get_by_text("Nr. 2000.")).to_be_in_viewport()
        self.assertLess(self.page.locator("article").count(), 100)
        for _ in range(4):
            before = self.page.locator("article").count()
            first = (self.page.locator("article .body").first.text_content() or "").strip()
            self.page.locator("#scroller").evaluate("box => box.scrollTop = 0")
            self.page.wait_for_function("before => document.querySelectorAll('article').length > before", arg=before)
            # The former top message is still in view: the page did not jump while it was read.
            expect(self.page.get_by_text(first, exact=True)).to_be_in_viewport()
        self.page.goto(f"/#{talk.pk}/{rows[499].pk}")
        expect(self.page.get_by_text("Nr. 500.")).to_be_in_viewport()
