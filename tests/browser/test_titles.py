"""The title that a model writes after the first answer comes to the page without a reload, and never over a name."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from chatservice.testing import running_service, tried_once, wait_until
from tests.browser.chatting import ChatCase

TITLES = "fake/say:⏸Night songs of birds"


@tried_once
class WrittenTitleTest(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        self.home = self.enterContext(running_service(TITLE_MODEL=TITLES, TITLE_SECONDS="100")).url

    def let_it_write(self, question: str) -> None:
        """Let the model answer that was asked for the title of a question."""

        def asked() -> bool:
            posts = [post for post in self.upstream.posts if question in str(post.body.get("messages"))]
            for post in posts:
                post.released = True
            return bool(posts)

        wait_until(asked, what="a model that is asked for a title")

    def test_it_comes_to_the_list_and_the_heading_and_a_name_given_meanwhile_stays(self) -> None:
        self.open(f"{self.home}/")
        items = self.page.locator("#conversations a")
        self.ask("Do canaries sing at night?")
        self.is_answered()
        expect(items).to_have_text(["Do canaries sing at night?"])
        self.let_it_write("Do canaries sing at night?")
        # The page asks again every 4 s at last.
        expect(items).to_have_text(["Night songs of birds"], timeout=30_000)
        expect(self.page.get_by_role("heading", name="Night songs of birds")).to_be_visible()
        expect(self.page).to_have_title(re.compile("^Night songs of birds"))
        self.page.get_by_role("button", name="New chat").first.click()
        self.ask("And finches?")
        self.is_answered()
        self.page.get_by_role("button", name="Actions for this conversation").click()
        self.page.get_by_role("button", name="Rename").click()
        self.page.get_by_label("Title").fill("Mine")
        self.page.get_by_label("Title").press("Enter")
        expect(items).to_have_text(["Mine", "Night songs of birds"])
        self.let_it_write("And finches?")
        self.page.reload()
        expect(items).to_have_text(["Mine", "Night songs of birds"])
