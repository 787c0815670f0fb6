"""What people come for, done as they do it, with the time and the actions that each took; by hand.

`python -m scripts.isolated python -m pytest tests/browser/walks.py -s` prints the table of docs/walks.md. An action is
a click, a key or a text that is written; the service searches with the default model, as `make run` does.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from accounts.services import register_user
from chatservice.testing import running_service, stop_shared_service, wait_until
from conversations.models import Conversation, Message
from files.tests.pictures import picture
from tests.browser.chatting import ChatCase
from tests.staff import REASON

YESTERDAY = timezone.now() - dt.timedelta(days=1)
PASSWORD = "correct horse battery staple"


@pytest.mark.timeout(300)
class WalkCase(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        stop_shared_service()  # which would index with another model
        self.service = self.enterContext(running_service(SEARCH_EMBEDDER="minilm-int8", SHARING="true"))
        self.home = self.service.url
        self.actions = 0

    @contextmanager
    def walk(self, name: str) -> Iterator[None]:
        """Print what is done in the block, with its actions and its seconds."""
        self.actions, began = 0, time.monotonic()
        yield
        print(f"| {name} | {self.actions} | {time.monotonic() - began:.1f} s |", flush=True)
        self.shot(f"walk-{name.replace(' ', '-')}")

    def click(self, what: Locator) -> None:
        self.actions += 1
        what.click()

    def write(self, field: Locator, text: str, key: str = "") -> None:
        self.actions += 1 + bool(key)
        field.fill(text)
        if key:
            field.press(key)

    def button(self, name: str, within: Locator | Page | None = None) -> Locator:
        return (within or self.page).get_by_role("button", name=name, exact=True).last

    def is_being_answered(self) -> None:
        """Wait for the whole answer, from its first sign."""
        expect(self.button("Stop the answer")).to_be_visible()
        self.is_answered()

    def menu(self, name: str) -> None:
        self.click(self.page.locator("#talk-menu"))
        self.click(self.page.locator("#menu").get_by_role("button", name=name))


class UserTest(WalkCase):
    def test_a_user(self) -> None:
        told = {
            "Bread at home": ("How long should sourdough rise?", "About twelve hours in the refrigerator."),
            "The war": ("When did the Thirty Years' War end?", "In 1648, with the Peace of Westphalia."),
            "A trip": ("Where do we sleep in Lisbon?", "In a small hotel near the river."),
        }
        for title, said in told.items():
            talk = self.talk(*said, title=title)
            Conversation.objects.filter(pk=talk.pk).update(created_at=YESTERDAY, updated_at=YESTERDAY)
            Message.objects.of(talk.pk).update(created_at=YESTERDAY)
        asked = {"q": "baking dough overnight", "mode": "semantic"}
        wait_until(
            lambda: "refrigerator" in self.alice.http.get(f"{self.home}/v1/chat/search", params=asked).text,
            timeout=60,
            what="the index",
        )
        page, message = self.page, self.page.get_by_label("Message", exact=True)
        page.add_init_script("localStorage.setItem('model', '\"fake/numbered:20ms:100\"')")
        with self.walk("open the page"):
            page.goto(f"{self.home}/")
            self.is_ready()
        with self.walk("find yesterday's chat about baking"):
            self.write(page.get_by_label("Search messages"), "baking dough overnight")
            self.click(page.locator("#hits a").first)
            expect(page.get_by_text("About twelve hours")).to_be_visible()
        with self.walk("ask, and stop the answer"):
            self.click(page.locator("#side").get_by_role("button", name="New chat"))
            self.write(message, "Explain glaciers", "Enter")
            self.says_a_part()
            self.click(self.button("Stop the answer"))
            self.is_answered()
        with self.walk("continue the answer"):
            self.click(self.button("Continue"))
            self.is_being_answered()
        with self.walk("edit the question"):
            self.click(self.button("Edit message"))
            self.write(page.get_by_role("textbox", name="Edit message"), "Explain glaciers in one sentence", "Enter")
            self.is_being_answered()
        with self.walk("attach a picture"):
            file = {"name": "glacier.png", "mimeType": "image/png", "buffer": picture()}
            self.actions += 1
            page.get_by_label("Files to attach").set_input_files(file)  # type: ignore[arg-type]
            self.write(message, "Is this one?")
            self.click(self.button("Send"))
            self.is_being_answered()
        with self.walk("set instructions"):
            self.menu("Instructions")
            dialog = page.get_by_role("dialog", name="Instructions")
            self.write(dialog.get_by_label("Instructions"), "Answer in one sentence.")
            self.click(dialog.get_by_role("button", name="Save"))
            expect(dialog).to_have_count(0)
        with self.walk("share up to the last answer"):
            self.click(self.button("Share up to here…"))
            dialog = page.get_by_role("dialog", name="Share up to here")
            self.click(dialog.get_by_role("button", name="Create link"))
            self.click(dialog.get_by_role("button", name="Copy the link"))
            self.click(dialog.get_by_role("button", name="Close"))
        with self.walk("export this conversation"), page.expect_download() as saved:
            self.menu("Save…")
            self.click(page.get_by_role("alertdialog").get_by_role("button", name="Markdown"))
        self.assertIn("Explain glaciers", saved.value.path().read_text())
        with self.walk("delete all"):
            self.click(page.get_by_role("link", name="Profile"))
            self.click(page.get_by_role("button", name="Delete everything…"))
            dialog = page.get_by_role("dialog")
            self.write(dialog.get_by_role("textbox"), self.user.username, "Enter")
            expect(page).not_to_have_url(re.compile("/profile"))
        wait_until(lambda: not Conversation.objects.filter(owner_id=self.user.pk).exists(), what="the deletion")


class StaffTest(WalkCase):
    def test_staff(self) -> None:
        group, _ = Group.objects.get_or_create(name="Glaciologists")
        self.user.groups.add(group)
        for model in ("fake/ok", "fake/no_such_behaviour", "fake/no_such_behaviour"):
            self.alice.http.post(f"{self.home}/v1/chat/conversations/stream", json={"model": model, "content": "Ice?"})
        talk = self.talk("Where is the saffron?", "In the cupboard.", title="Spices")
        admin = register_user(username="walking-staff", password=PASSWORD, superuser=True)
        self.context.clear_cookies()
        page = self.page
        with self.walk("sign in to the admin"):
            page.goto(f"{self.home}/admin/")
            self.write(page.get_by_label("Username"), admin.username)
            self.write(page.get_by_label("Password"), PASSWORD, "Enter")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
        main = page.locator("#content")
        with self.walk("why did answers of a model fail"):
            self.click(page.get_by_role("link", name="Dashboard").first)
            self.click(main.get_by_role("link", name="Failed runs by code"))
            self.actions += 1
            main.get_by_label("By", exact=True).select_option("model")
            self.click(main.get_by_role("button", name="Show"))
            self.click(main.get_by_role("row").filter(has_text="no_such_behaviour").get_by_role("link").last)
            self.click(main.get_by_role("row").filter(has_text="no_such_behaviour").get_by_role("link").first)
            expect(main).to_contain_text("does not exist")
        with self.walk("what did a group spend"):
            self.click(page.get_by_role("link", name="Usage").first)
            self.actions += 1
            main.get_by_label("Group").select_option(label=group.name)
            self.click(main.get_by_role("button", name="Show"))
            expect(main.get_by_role("row").filter(has_text=self.user.username)).to_be_visible()
        with self.walk("give a user a key"):
            self.click(main.get_by_role("link", name=self.user.username))
            self.shot("walk-usage-of-user")
            page.goto(f"{self.home}/admin/accounts/user/{self.user.pk}/change/")
            self.click(page.get_by_role("link", name="Issue a key"))
            self.write(main.locator("#id_name"), "Laptop")
            self.write(main.get_by_label("Why do you need"), REASON)
            self.click(main.get_by_role("button", name="Issue"))
            expect(main.locator("code")).to_contain_text("cb_")
        with self.walk("read one transcript"):
            page.goto(f"{self.home}/admin/conversations/conversation/")
            self.click(main.get_by_role("link", name="Spices"))
            self.write(page.get_by_label("Why do you need to read this?"), REASON)
            self.click(page.get_by_role("button", name="Read the conversation"))
            expect(page.locator(f"#m-{Message.objects.of(talk.pk).latest('position').pk}")).to_be_visible()
