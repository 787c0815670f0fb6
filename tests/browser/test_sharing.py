"""Sharing a conversation: from a message and from the menu, what others see, and where links are revoked."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from chatservice.testing import needs_dialect, running_service, tried_once, wait_until
from sharing.models import SharedLink
from tests.browser.case import PHONE
from tests.browser.chatting import ChatCase
from tests.matrix.subjects import link_to

needs_dialect("chat_v1")  # the profile asks it
CODE = "print('a line that is much too long for a phone, so that it scrolls')"
ANSWER = f"In **1648**: \\(x^2\\).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\n{CODE}\n```"


@tried_once
class SharingTest(ChatCase):
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog", name="Share up to here")

    def links(self) -> list[SharedLink]:
        return list(SharedLink.objects.filter(owner=self.user).order_by("pk"))

    def anybody(self, link: SharedLink, **options: str) -> Page:
        """Open a link in a browser that nobody is signed in with."""
        page = self.new_context(**options).new_page()
        page.goto(f"/shared/{link.token}")
        return page

    def test_a_link_up_to_a_message_is_made_copied_read_and_revoked(self) -> None:
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        talk = self.talk("When did it end?", ANSWER, "And then?", "Peace.", title="The war")
        self.open(f"/#{talk.pk}")
        button = self.answers().first.get_by_role("button", name="Share up to here…")
        button.focus()
        self.page.keyboard.press("Enter")
        title = self.dialog().get_by_label("Title that is shown")
        expect(title).to_be_focused()
        expect(title).to_have_value("The war")
        self.assert_accessible()
        title.fill("A war")
        self.dialog().get_by_label("The link works for").select_option("7")
        title.press("Enter")
        copy = self.dialog().get_by_role("button", name="Copy the link")
        expect(copy).to_be_focused()
        self.assert_accessible()
        revoke = self.dialog().get_by_role("button", name="Revoke the link")
        expect(revoke).to_have_css("background-color", "rgba(0, 0, 0, 0)")  # or its red text could not be read
        [link] = self.links()
        self.assertEqual((link.title, (link.expires_at - link.created_at).days), ("A war", 7))
        copy.press("Enter")
        address = f"{self.service.url}/shared/{link.token}"
        wait_until(lambda: self.page.evaluate("navigator.clipboard.readText()") == address, what="the copy")

        seen = self.anybody(link)
        expect(seen.get_by_role("heading", name="A war")).to_be_visible()
        expect(seen.locator("article")).to_have_count(2)
        expect(seen.locator(".math .katex")).to_be_visible()
        expect(seen.get_by_text("Peace.")).to_have_count(0)
        self.assert_accessible(seen)
        self.assertEqual(seen.context.cookies(), [])

        revoke.click()
        expect(copy).to_have_count(0)
        self.assertEqual(self.links(), [])
        self.page.keyboard.press("Escape")
        expect(self.dialog()).to_have_count(0)
        expect(button).to_be_focused()
        self.network_may_fail = True
        seen.reload()
        expect(seen.get_by_role("heading", name="Nothing is shared here")).to_be_visible()
        self.assert_accessible(seen)

    def test_the_menu_shares_all_of_what_is_shown_and_lists_earlier_links(self) -> None:
        talk = self.talk("When did it end?", "In 1648.", title="The war")
        messages = list(talk.messages.order_by("position"))
        link_to(messages[0])
        self.open(f"/#{talk.pk}")
        self.page.locator("#talk-menu").click()
        self.page.get_by_role("button", name="Share…").click()
        expect(self.dialog().get_by_text("Up to another message")).to_be_visible()
        self.dialog().get_by_role("button", name="Create link").click()
        expect(self.dialog().get_by_text("Up to here,")).to_be_visible()
        self.assertEqual([link.message_id for link in self.links()], [each.pk for each in messages])
        self.dialog().get_by_role("button", name="Close").click()
        expect(self.dialog()).to_have_count(0)

    def test_the_profile_lists_links_and_revokes_them(self) -> None:
        kept, revoked = (link_to(self.talk("Well?", title=name).messages.get()) for name in ("Kept", "Revoked"))
        self.open("/profile")
        row = self.page.get_by_role("row").filter(has_text="Revoked")
        expect(row).to_be_visible()
        self.assert_accessible()
        row.get_by_role("button", name="Revoke the link to Revoked").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        expect(row).to_have_count(0)
        self.assertEqual(self.links(), [kept])
        self.page.get_by_role("link", name="Kept").click()
        self.is_ready()
        self.assertIn(f"#{kept.conversation_id}/{kept.message_id}", self.page.url)
        self.assertNotIn(revoked, self.links())

    def test_a_refusal_is_said_in_the_dialog(self) -> None:
        talk = self.talk("Well?", "Well.")
        self.open(f"/#{talk.pk}")
        self.answers().first.get_by_role("button", name="Share up to here…").click()
        talk.messages.all().delete()
        self.dialog().get_by_role("button", name="Create link").click()
        expect(self.dialog().get_by_role("alert")).to_contain_text("no longer exists")
        self.assert_accessible()

    def test_the_shared_page_works_without_scripts_in_the_dark_and_on_a_phone(self) -> None:
        talk = self.talk("متى انتهت؟", ANSWER, "x" * 300, "Yes.", title="A war with a rather long title " * 5)
        link = link_to(talk.messages.get(position=4))
        page = self.new_context(viewport=PHONE, color_scheme="dark", java_script_enabled=False).new_page()
        page.goto(f"/shared/{link.token}")
        expect(page.locator("article")).to_have_count(4)
        expect(page.get_by_text("\\(x^2\\)")).to_be_visible()
        page = self.new_context(viewport=PHONE, color_scheme="dark").new_page()
        page.goto(f"/shared/{link.token}")
        expect(page.locator(".math .katex")).to_be_visible()
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), PHONE["width"])
        self.assertEqual(page.locator("article .markdown").first.evaluate("e => getComputedStyle(e).direction"), "rtl")
        self.assertNotEqual(
            page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor"), "rgb(255, 255, 255)"
        )
        self.assert_accessible(page)


@tried_once
class NoSharingTest(ChatCase):
    def test_where_it_is_off_nothing_offers_it(self) -> None:
        self.service = self.enterContext(running_service(SHARING="false"))
        context = self.new_context(base_url=self.service.url)
        self.home = self.service.url
        self.sign_in(self.user, context)
        talk = self.talk("Well?", "Well.", title="The war")
        page = self.open(f"/#{talk.pk}", page=context.new_page())
        expect(self.answers(page).first).to_be_visible()
        expect(page.get_by_role("button", name="Share up to here…")).to_have_count(0)
        page.locator("#talk-menu").click()
        expect(page.get_by_role("button", name="Rename")).to_be_visible()
        expect(page.get_by_role("button", name="Share…")).to_have_count(0)
        page = self.open("/profile", page=context.new_page())
        expect(page.get_by_role("heading", name="My shared links")).to_have_count(0)
