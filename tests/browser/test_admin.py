"""The admin in a real browser with its CSP: list, search, a transcript with its reason, the dashboard."""

from __future__ import annotations

import uuid
from typing import Any

from playwright.sync_api import expect

from accounts.services import register_user
from chatservice.testing import tried_once
from conversations.models import AccessLogEntry, Conversation, Message
from conversations.services import append_message, edit_message, start_conversation
from dashboard import page as dashboard
from tests.browser.case import BrowserTestCase
from tests.browser.chatting import copy_all
from tests.staff import LIST, staff

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
CODE = (
    "Try this:\n\n```python\ndef area(r: float) -> float:\n    return 3.14159 * r**2  # close enough\n```\n\n"
    "| a | b |\n|---|--:|\n| one | 1 |\n\nThat is \\(\\pi r^2\\)."
)


@tried_once
class AdminTest(BrowserTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reader = staff("carol", "view", "read_content", "change_conversation")
        self.word = f"word{uuid.uuid4().hex[:12]}"
        self.owner = register_user(username=f"alice-{uuid.uuid4().hex[:8]}")
        self.talk = start_conversation(owner_id=self.owner.pk, title=f"Circles {EVIL}", end_user=EVIL[:80])
        for number in range(6):
            self.say("user", f"Question {number} about circles", author=EVIL[:60])
            self.say("assistant", CODE, model="gpt-4o-mini")
        self.asked = self.say("user", f"And what is {self.word}? {EVIL}")
        self.say("assistant", f"It is **round**. ![x](https://evil.example/{self.word}.png)", model="gpt-4o-mini")
        self.sign_in(self.reader)

    def say(self, role: str, text: str, **more: Any) -> Message:
        return append_message(conversation=self.talk, role=role, content=text, **more)

    def test_from_the_search_box_to_the_message_with_a_reason_each_time(self) -> None:
        self.page.goto(LIST)
        self.page.locator("#said").fill(self.word)
        self.page.keyboard.press("Enter")
        self.give_reason("Search with this reason")
        expect(self.page.locator(".snippet mark").first).to_contain_text(self.word)
        self.assert_accessible()
        self.shot("staff-search")
        # Click the hit by its address: to the tests' small embedder, other messages' words may mean the same.
        self.page.locator(f".hits a[href$='#m-{self.asked.pk}']").click()
        self.give_reason("Read the conversation")
        message = self.page.locator(f"#m-{self.asked.pk}")
        expect(message).to_contain_text(self.word)
        expect(message).to_be_in_viewport()
        entries = AccessLogEntry.objects.filter(owner_id=self.owner.pk).newest_first()
        kinds = list(entries.values_list("kind", flat=True))
        self.assertEqual(kinds[-1], "search")
        self.assertEqual(kinds[0], "transcript")

    def test_a_transcript_is_readable_in_light_and_dark_and_acts_not(self) -> None:
        other = edit_message(message=self.asked, content="Said otherwise")
        self.page.goto(f"{LIST}{self.talk.pk}/change/")
        self.give_reason("Read the conversation")
        expect(self.page.locator(f"#m-{other.pk}")).to_contain_text("Said otherwise")
        self.assertGreater(self.page.locator(".markdown .k").count(), 0)
        expect(self.page.locator(".markdown .katex")).to_have_count(6)
        self.assertIn(r"That is \(\pi r^2\).", copy_all(self.page, ".transcript"))
        self.assert_accessible()
        self.shot("staff-transcript")
        self.page.get_by_label("Previous version").click()
        expect(self.page.locator(f"#m-{self.asked.pk}")).to_contain_text("<script>alert(1)</script>")
        self.assertEqual(self.page.locator(".transcript img, .transcript script").count(), 0)
        self.page.emulate_media(color_scheme="dark")
        self.assert_accessible()
        self.shot("staff-transcript-dark")

    def test_the_lists(self) -> None:
        for name, address in (
            ("list", f"{LIST}?owner={self.owner.username}"),
            ("runs", "/admin/completions/run/"),
            ("access log", "/admin/conversations/accesslogentry/"),
            ("keys", "/admin/accounts/apikey/"),
            ("feedback", "/admin/feedback/feedback/"),
        ):
            with self.subTest(name):
                self.page.goto(address)
                expect(self.page.locator("#changelist")).to_be_visible()
                if name in ("list", "runs", "feedback"):
                    self.assert_accessible()
                self.shot(f"staff-{name}")
        self.page.goto(f"{LIST}?owner={self.owner.username}")
        expect(self.page.locator("#result_list")).to_contain_text("<script>alert(1)</script>")
        self.page.locator("#action-toggle").check()
        self.page.locator("select[name=action]").select_option("archive")
        self.page.get_by_role("button", name="Go").click()
        expect(self.page.locator(".messagelist")).to_contain_text("1 conversations were archived")
        self.assertIsNotNone(Conversation.objects.get(pk=self.talk.pk).archived_at)

    def test_what_is_pressed_is_large_enough_and_what_destroys_is_red(self) -> None:
        for number in range(60):
            start_conversation(owner_id=self.owner.pk, title=f"Page {number}")
        self.page.goto(f"{LIST}?owner={self.owner.username}")
        for link in self.page.locator(".paginator li a").all():
            box = link.bounding_box()
            assert box is not None
            self.assertGreaterEqual(min(box["width"], box["height"]), 24)
        self.sign_in(staff("root", superuser=True))
        self.page.goto(f"{LIST}{self.talk.pk}/change/")
        delete = self.page.get_by_role("link", name="Delete", exact=True)
        expect(delete).to_have_css("background-color", "rgb(186, 33, 33)")
        self.assert_accessible()

    def test_the_pages_of_a_user_a_group_and_a_key_are_accessible(self) -> None:
        self.sign_in(staff("root", superuser=True))
        user, key = f"accounts/user/{self.alice.user.pk}", f"accounts/apikey/{self.alice.key.pk}"
        for path in (f"{user}/change/", "auth/group/add/", f"{key}/change/"):
            self.page.goto(f"/admin/{path}")
            expect(self.page.locator("#content h1")).to_be_visible()
            self.assert_accessible()

    def test_the_dashboard_in_light_and_dark(self) -> None:
        dashboard.forget()
        self.page.goto("/admin/")
        expect(self.page.get_by_role("heading", name="Now")).to_be_visible()
        self.assert_accessible()
        self.shot("staff-home")
        self.page.goto("/admin/dashboard/failures/")
        self.assert_accessible()
        self.shot("staff-failures")
        self.page.goto("/admin/dashboard/")
        expect(self.page.get_by_role("img", name="Messages per day")).to_be_visible()
        self.page.get_by_text("As a table").first.click()
        expect(self.page.locator(".dashboard table").first).to_be_visible()
        self.assert_accessible()
        self.shot("staff-dashboard")
        self.page.emulate_media(color_scheme="dark")
        self.assert_accessible()
        self.shot("staff-dashboard-dark")
