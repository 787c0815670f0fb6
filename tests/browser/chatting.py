"""Users' actions on the chat page, as methods for the tests."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect

from accounts.models import User
from chatservice.testing import needs_dialect, wait_until
from conversations.models import Conversation, Message
from tests.browser.case import BrowserTestCase

needs_dialect("graphql")
needs_dialect("resources")  # the page follows an answer at this path if no websocket can be opened

HELD = "fake/held:20ms:70"
"""A model that pauses in the middle of its answer until `release`, so that even a slow machine gets there in time."""


class ChatCase(BrowserTestCase):
    """Alice, signed in, on the chat page."""

    model = ""

    def setUp(self) -> None:
        super().setUp()
        self.user: User = self.alice.user
        self.sign_in(self.user)

    def open(self, path: str = "/", *, page: Page | None = None, model: str = "") -> Page:
        opened = page or self.page
        if model:
            opened.add_init_script(f"localStorage.setItem('model', '\"{model}\"')")
        opened.goto(path)
        self.is_ready(opened)
        return opened

    def is_ready(self, page: Page | None = None) -> None:
        expect((page or self.page).locator("body[data-ready]")).to_be_attached()

    def ask(self, text: str, page: Page | None = None) -> None:
        asked = page or self.page
        asked.get_by_label("Message", exact=True).fill(text)
        asked.get_by_label("Message", exact=True).press("Enter")

    def says_a_part(self) -> None:
        """Wait until a part of the answer is shown; the model HELD sends the rest after `release`."""
        wait_until(lambda: len(self.shown(self.answers().last)) > 20, what="a part of the answer")

    def release(self) -> None:
        """Let HELD send the rest of its answer to the latest question."""
        self.upstream.posts[-1].released = True

    def find(self, text: str) -> None:
        """Search by words: semantic results depend on the model, and on the indexer's progress."""
        self.page.get_by_label("Search messages").fill(text)
        self.page.get_by_label("Search by").select_option("text")

    def is_answered(self, page: Page | None = None) -> None:
        """Wait until no answer is in progress."""
        seen = page or self.page
        expect(seen.locator("article.theirs:not(.writing)").last).to_be_visible()
        expect(seen.locator("article.writing")).to_have_count(0)
        expect(seen.get_by_role("button", name="Send", exact=True)).to_be_visible()

    def answers(self, page: Page | None = None) -> Locator:
        return (page or self.page).locator("article.theirs")

    def says(self, text: str, page: Page | None = None) -> None:
        expect(self.answers(page).last.locator(".body")).to_contain_text(text)

    def shown(self, article: Locator) -> str:
        return flat(article.locator(".body").text_content() or "")

    def conversation(self) -> Conversation:
        return Conversation.objects.get(owner=self.user)

    def stored(self) -> list[Message]:
        """Return the stored messages of the only conversation, oldest first."""
        return list(Message.objects.of(self.conversation().pk).oldest_first())

    def talk(self, *said: str, title: str = "", **fields: Any) -> Conversation:
        """Store a conversation in which Alice and the model alternate."""
        talk = Conversation.objects.create(owner=self.user, title=title, **fields)
        parent = None
        for position, content in enumerate(said, 1):
            role = Message.Role.USER if position % 2 else Message.Role.ASSISTANT
            parent = Message.objects.create(
                conversation=talk, parent=parent, position=position, role=role, content=content
            )
        Conversation.objects.filter(pk=talk.pk).update(head=parent, next_position=len(said) + 1)
        return talk


def copy_all(page: Page, selector: str) -> str:
    """Return what is copied of an element that is selected as a whole."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(selector).evaluate("each => getSelection().selectAllChildren(each)")
    page.keyboard.press("Control+c")
    return str(page.evaluate("navigator.clipboard.readText()"))


def flat(text: str) -> str:
    """Return a text with each run of white space replaced by one space."""
    return re.sub(r"\s+", " ", text).strip()
