"""Every page in light and dark: axe finds nothing, not even what it rates moderate, such as a missing landmark."""

from __future__ import annotations

from playwright.sync_api import expect

from chatservice.testing import needs_dialect, tried_once
from tests.browser.case import PHONE
from tests.browser.chatting import ChatCase
from tests.staff import LIST, staff

needs_dialect("chat_v1")


@tried_once
class EveryPageTest(ChatCase):
    def look(self, path: str, ready: str, *without: str) -> None:
        for scheme in ("light", "dark"):
            with self.subTest(f"{path}, {scheme}"):
                self.page.emulate_media(color_scheme=scheme)
                self.page.goto("about:blank")
                self.page.goto(path)
                expect(self.page.locator(ready).first).to_be_visible()
                self.assert_accessible(moderate=True, without=without)

    def test_the_pages_of_users(self) -> None:
        talk = self.talk("A question", "An *answer* with `code`", title="Looked at")
        for path, ready in (
            ("/", "body[data-ready] #empty"),
            (f"/#{talk.pk}", "body[data-ready] article.theirs"),
            ("/profile", "body[data-ready] #keys tr"),
            ("/graphql", "#answer, form"),
            ("/login/browsers", "main"),
        ):
            self.look(path, ready)
        # Swagger UI's own: levels of headings, buttons with something to press in them, texts beside its landmarks.
        self.look("/docs", ".opblock", "heading-order", "nested-interactive", "region")
        self.context.clear_cookies()
        self.look("/login", "main")
        self.page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        self.look("/", "body[data-ready]")

    def test_the_pages_of_staff(self) -> None:
        talk = self.talk("A question", "An *answer* with `code`", title="Looked at")
        self.sign_in(staff("root", superuser=True))
        self.page.goto(f"{LIST}{talk.pk}/change/")
        self.give_reason("Read the conversation")
        transcript = self.page.url
        for path, ready in (
            ("/admin/", "#content"),
            (LIST, "#result_list"),
            (transcript, "#content"),
            ("/admin/dashboard/", "svg[role=img]"),
        ):
            self.look(path, ready)
