"""The profile: keys, usage, the access log, and deleting the account."""

from __future__ import annotations

import httpx2
from django.contrib.auth.models import Group
from django.test import Client
from playwright.sync_api import Page, expect

from accounts.models import ApiKey, BrowserSession, FailedSignIn, GroupOwner, SubjectLimits, User
from chatservice.testing import needs_dialect, tried_once, wait_until
from completions.models import Run
from conversations.access_log import record_access
from conversations.models import Conversation
from tests.browser.case import PHONE
from tests.browser.chatting import ChatCase
from usage.models import Budget

PASSWORD = "a long enough phrase"
needs_dialect("chat_v1")


@tried_once
class ProfileTest(ChatCase):
    def test_a_key_is_made_shown_once_and_revoked(self) -> None:
        self.open("/profile")
        self.page.get_by_label("Name of the new key").fill("laptop")
        self.page.get_by_role("button", name="Create key").click()
        text = self.page.locator("#made code").inner_text()
        url = f"{self.service.url}/v1/chat/conversations"
        self.assertEqual(httpx2.get(url, headers={"Authorization": f"Bearer {text}"}).status_code, 200)
        self.assert_accessible()
        self.page.reload()
        row = self.page.get_by_role("row").filter(has_text="laptop")
        expect(row).to_be_visible()
        self.assertNotIn(text, self.page.content())
        row.get_by_role("button", name="Revoke").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        expect(row).to_contain_text("revoked")
        self.assertIsNotNone(ApiKey.objects.get(user=self.user, name="laptop").revoked_at)
        self.assertEqual(httpx2.get(url, headers={"Authorization": f"Bearer {text}"}).status_code, 401)

    def test_a_key_has_least_rights_unless_more_are_chosen_and_is_rotated(self) -> None:
        self.open("/profile")
        self.page.get_by_role("button", name="Create key").click()
        expect(self.page.locator("#made code")).to_be_visible()
        self.page.get_by_label("Name of the new key").fill("search only")
        self.page.get_by_label("read", exact=True).uncheck()
        self.page.get_by_label("generate answers").uncheck()
        self.page.get_by_role("button", name="Create key").click()
        expect(self.page.get_by_text("at least one thing")).to_be_visible()
        self.page.get_by_label("search", exact=True).check()
        self.page.get_by_label("Networks it works from").fill("192.0.2.0/24, 2001:db8::/32")
        self.page.get_by_role("button", name="Create key").click()
        row = self.page.get_by_role("row").filter(has_text="search only")
        expect(row).to_contain_text("search; from 192.0.2.0/24, 2001:db8::/32")
        least, chosen = ApiKey.objects.filter(user=self.user).exclude(scopes=None).order_by("pk")
        self.assertEqual((least.scopes, chosen.scopes), (["read", "generate"], ["search"]))
        row.get_by_role("button", name="Rotate").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
        expect(row).to_have_count(2)
        self.assert_accessible()
        new = ApiKey.objects.get(replaces=chosen)
        self.assertEqual((new.scopes, new.networks), (["search"], ["192.0.2.0/24", "2001:db8::/32"]))
        self.assertTrue(self.page.locator("#made code").inner_text().startswith(f"cb_{new.kid}"))

    def test_new_chats_begin_with_the_model_that_was_chosen_for_as_long_as_it_may_be_used(self) -> None:
        picker = self.page.get_by_label("Model")
        wait_until(lambda: len(self.models()) > 1, what="the whole list")
        self.open()
        expect(picker).to_have_value("")
        picker.select_option("fake/meta/llama-3")
        self.open("/profile")
        self.page.get_by_label("Begin with the model").select_option("fake/faulty")
        self.page.get_by_role("button", name="Save").press("Enter")
        expect(self.page.get_by_text("Saved.")).to_be_visible()
        self.assert_accessible()
        self.open()
        expect(picker).to_have_value("fake/faulty")
        picker.select_option("")
        self.ask("Hello")
        self.is_answered()
        self.assertEqual(Run.objects.get(user=self.user).model, "echo")
        self.page.get_by_role("button", name="New chat").first.click()
        expect(picker).to_have_value("fake/faulty")
        limits = SubjectLimits.objects.create(user=self.user, models_allowed=["echo"])
        self.addCleanup(lambda: SubjectLimits.objects.filter(pk=limits.pk).delete())
        wait_until(lambda: not self.open().get_by_label("Model").input_value(), what="the limit")
        self.open("/profile")
        expect(self.page.get_by_label("Begin with the model")).to_have_value("")

    def models(self) -> list[str]:
        found: list[str] = self.alice.http.post("/graphql", json={"query": "{ models }"}).json()["data"]["models"]
        return found

    def test_usage_is_shown(self) -> None:
        self.alice.http.post("/v1/chat/conversations/stream", json={"content": "Hello"})
        self.open("/profile")
        row = self.page.locator("#usage tr")
        expect(row).to_contain_text("echo")
        expect(self.page.get_by_text("1 answers")).to_be_visible()

    def test_what_is_left_of_budgets_is_shown_where_there_are_some(self) -> None:
        budget = Budget.objects.create(
            name=f"Mine {self.user.pk}", user=self.user, max_tokens=1_000_000, period="total"
        )
        self.addCleanup(Budget.objects.filter(pk=budget.pk).delete)
        wait_until(lambda: self.alice.http.get("/v1/chat/me/budgets").json()["data"], what="the budget")
        self.page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        self.open("/profile")
        row = self.page.locator("#budgets tr")
        expect(row).to_contain_text(["all time0 tokens of 1,000,000 tokens1,000,000 tokensnever"])
        self.is_fine(self.page)
        budget.delete()
        wait_until(lambda: not self.alice.http.get("/v1/chat/me/budgets").json()["data"], what="no budget")
        self.open("/profile")
        expect(self.page.get_by_role("heading", name="My budgets")).to_be_hidden()

    def test_the_owner_of_a_group_sees_what_its_members_used(self) -> None:
        group = Group.objects.create(name="Research")
        self.addCleanup(group.delete)
        group.user_set.add(self.bob.user)
        self.open("/profile")
        title = self.page.get_by_role("heading", name="Usage of my groups")
        expect(title).to_be_hidden()
        GroupOwner.objects.create(group=group, user=self.user)
        self.bob.http.post("/v1/chat/conversations/stream", json={"content": "Hello"})
        self.open("/profile")
        expect(title).to_be_visible()
        expect(self.page.locator("#groups-usage tr")).to_contain_text([self.bob.user.username])
        self.assert_accessible()

    def test_the_access_log_is_shown(self) -> None:
        record_access(
            reader=self.carol.user,
            kind="transcript",
            reason="They <b>asked</b> us to",
            conversation=self.talk("Hi", title="Circles"),
        )
        self.open("/profile")
        row = self.page.locator("#access-log tr")
        expect(row).to_contain_text(self.carol.user.username)
        expect(row).to_contain_text("They <b>asked</b> us to")
        row.get_by_role("link", name="Circles").click()
        expect(self.page.locator("#title")).to_have_text("Circles")

    def test_failed_sign_ins_are_shown_where_there_are_some(self) -> None:
        self.open("/profile")
        expect(self.page.get_by_role("heading", name="Failed sign-ins")).to_be_hidden()
        FailedSignIn.objects.create(user=self.user, network="192.0.2.0/24", attempts=3)
        self.open("/profile")
        row = self.page.locator("#failed-sign-ins tr")
        expect(row).to_contain_text("192.0.2.0/24")
        expect(row.locator("td").nth(1)).to_have_text("3")
        self.assert_accessible()

    def test_the_password_is_changed_and_another_browser_is_signed_out_with_the_keyboard_on_a_phone_in_the_dark(
        self,
    ) -> None:
        self.open("/profile")
        expect(self.page.get_by_role("link", name="Change the password")).to_be_hidden()
        self.user.set_password(PASSWORD)
        self.user.save()
        phone = self.new_context(viewport=PHONE, color_scheme="dark")
        self.sign_in(self.user, phone)
        Client().force_login(self.user)
        BrowserSession.objects.filter(pk=BrowserSession.objects.latest("pk").pk).update(browser="Firefox on Linux")
        page = phone.new_page()
        page.goto("/profile")
        page.get_by_role("link", name="Change the password").press("Enter")
        for number, text in enumerate((PASSWORD, "short", "short")):
            page.get_by_role("textbox").nth(number).fill(text)
        page.get_by_role("textbox").nth(2).press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("too short")
        self.is_fine(page)
        page.goto("/login/browsers")
        other = page.get_by_role("listitem").filter(has_text="Firefox on Linux")
        self.is_fine(page)
        other.get_by_role("button", name="Sign out Firefox on Linux").press("Enter")
        expect(page.get_by_role("status")).to_be_visible()
        expect(other).to_have_count(0)
        page.goto("/login/password")
        for number, text in enumerate((PASSWORD, f"new {PASSWORD}", f"new {PASSWORD}")):
            page.get_by_role("textbox").nth(number).fill(text)
        page.get_by_role("textbox").nth(2).press("Enter")
        expect(page.get_by_role("status")).to_contain_text("Your password is changed")
        expect(page.get_by_role("listitem")).to_have_count(1)
        page.get_by_role("link", name="profile").press("Enter")
        expect(page.locator("body[data-ready]")).to_be_attached()

    def is_fine(self, page: Page) -> None:
        self.assert_accessible(page)
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 390)

    def test_a_guest_is_asked_to_sign_in(self) -> None:
        self.context.clear_cookies()
        self.page.goto("/profile")
        self.page.wait_for_url("**/login?next=%2Fprofile")

    def test_nothing_is_deleted_without_the_name(self) -> None:
        self.open("/profile")
        self.page.get_by_role("button", name="Delete everything").click()
        self.page.get_by_role("dialog").get_by_role("textbox").fill("somebody else")
        self.page.get_by_role("dialog").get_by_role("button", name="Delete everything").click()
        expect(self.page.get_by_text("nothing was deleted")).to_be_visible()
        self.assertTrue(User.objects.filter(pk=self.user.pk).exists())

    def test_everything_is_exported_and_then_deleted_for_good(self) -> None:
        self.talk("Remember the milk")
        self.open("/profile")
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name="Export everything").click()
        self.assertEqual(download.value.suggested_filename, "chat-export.ndjson")
        self.assertIn("Remember the milk", download.value.path().read_text())
        self.page.get_by_role("button", name="Delete everything").click()
        self.page.get_by_role("dialog").get_by_role("textbox").fill(self.user.username)
        self.page.get_by_role("dialog").get_by_role("button", name="Delete everything").click()
        self.page.wait_for_url(lambda url: "/profile" not in url)
        # The session was deleted as well: the user is now a guest, not somebody who signed out.
        expect(self.page.get_by_text("You are a guest")).to_be_visible()
        self.assertFalse(User.objects.filter(pk=self.user.pk).exists())
        self.assertFalse(Conversation.objects.filter(owner_id=self.user.pk).exists())
