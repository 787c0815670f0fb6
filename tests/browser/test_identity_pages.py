"""Which user a page belongs to, apart from asking: guests, notified tabs, cached pages, and the other pages."""

from __future__ import annotations

from playwright.sync_api import expect

from accounts.models import ApiKey
from accounts.services import guest_user
from chatservice.testing import needs_dialect, tried_once
from conversations.models import Conversation, Todo
from tests.browser.identity import IdentityCase


@tried_once
class GuestTest(IdentityCase):
    def setUp(self) -> None:
        super().setUp()
        self.cookie_runs_out()

    def test_a_guests_page_stores_nothing_once_somebody_signed_in_and_the_text_comes_along(self) -> None:
        self.deaf()
        self.open()
        self.sign_in_by_form(self.user)
        self.ask(self.text)
        dialog = self.dialog(f"You are signed in as {self.user.username}")
        self.is_kept_and_stored_for_nobody()
        dialog.get_by_role("button", name=f"Reload as {self.user.username}").click()
        expect(self.page.locator("#who")).to_have_text(self.user.username)
        self.is_ready()
        expect(self.field()).to_have_value(self.text)
        self.field().press("Enter")
        self.is_answered()
        self.assertEqual(self.owners(), [self.user.pk])

    def test_what_a_guest_began_to_write_is_there_after_signing_in(self) -> None:
        self.open()
        self.field().fill(self.text)
        self.page.get_by_role("link", name="Sign in").click()
        self.page.wait_for_url("**/login")
        self.sign_in_by_form(self.user, self.page)
        expect(self.field()).to_have_value(self.text)
        self.page.reload()
        self.is_ready()
        expect(self.field()).to_have_value(self.text)

    def test_a_guest_goes_on_as_one(self) -> None:
        self.open()
        self.ask(self.text)
        self.is_answered()
        self.assertEqual(self.owners(), [guest_user().pk])


@tried_once
class TabsTest(IdentityCase):
    def test_the_other_tabs_hear_of_it_at_once(self) -> None:
        self.open()
        self.field().fill(self.text)
        self.sign_out_elsewhere()
        self.dialog("You are signed out")
        self.is_kept_and_stored_for_nobody()

    def test_a_page_that_the_browser_kept_is_loaded_anew(self) -> None:
        self.talk("Hello", "Hi there", title="Private plans")
        self.deaf()
        self.open()
        expect(self.page.get_by_role("link", name="Private plans")).to_be_visible()
        self.cookie_runs_out()
        with self.page.expect_navigation():
            self.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        expect(self.page.get_by_text("You are a guest")).to_be_visible()
        expect(self.page.get_by_role("link", name="Private plans")).to_have_count(0)

    def test_nothing_is_shown_of_who_signed_in_meanwhile(self) -> None:
        Conversation.objects.create(owner=self.bob.user, title="Plans of Bob")
        self.deaf()
        self.open()
        self.bob_signs_in_elsewhere()
        self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        self.dialog(f"You are signed in as {self.bob.user.username}")
        expect(self.page.get_by_text("Plans of Bob")).to_have_count(0)


@tried_once
class OtherPagesTest(IdentityCase):
    def test_the_profile_makes_no_key_for_somebody_else_and_brings_nobody_elses_data(self) -> None:
        needs_dialect("chat_v1")
        before = ApiKey.objects.filter(user=self.bob.user).count()
        self.deaf()
        self.open("/profile")
        self.bob_signs_in_elsewhere()
        title = f"You are signed in as {self.bob.user.username}"
        downloads: list[object] = []
        self.page.on("download", lambda download: downloads.append(download))
        for button in ("Export everything", "Create key"):
            self.page.get_by_role("button", name=button).click()
            dialog = self.dialog(title)
            self.assert_accessible()
            dialog.get_by_role("button", name="Not now").click()
        self.assertEqual(downloads, [])
        expect(self.page.locator("#made")).to_be_hidden()
        self.assertEqual(ApiKey.objects.filter(user=self.bob.user).count(), before)

    def test_the_pages_to_try_things_out_send_nothing_as_somebody_else(self) -> None:
        self.page.goto("/graphql")
        expect(self.page.get_by_role("main").get_by_role("heading", name="Answer")).to_be_visible()
        self.assert_accessible()
        expect(self.page.get_by_label("Key")).to_have_attribute("placeholder", f"empty: {self.user.username}")
        run = self.page.get_by_role("button", name="Run")
        mutation = f'mutation {{ createTodo(title: "{self.text}") {{ id }} }}'
        subscription = f'subscription {{ answer(content: "{self.text}") {{ cursor }} }}'
        self.cookie_runs_out()
        for operation, told in ((mutation, "identity_changed"), (subscription, "loaded for another user")):
            self.page.get_by_label("Query").fill(operation)
            run.click()
            expect(self.page.locator("#answer")).to_contain_text(told)
        self.assertFalse(Todo.objects.filter(title=self.text).exists())
        self.is_stored_for_nobody()
        self.sign_in(self.user)
        self.page.get_by_label("Query").fill(mutation)
        run.click()
        expect(self.page.locator("#answer")).to_contain_text("createTodo")
        self.assertEqual(Todo.objects.get(title=self.text).owner_id, self.user.pk)

    def test_the_documentation_says_whose_page_it_is(self) -> None:
        with self.page.expect_request("**/schema/*") as asked:
            self.page.goto("/docs")
        self.assertEqual(asked.value.headers["x-page-user"], str(self.user.pk))
        expect(self.page.get_by_role("main").get_by_role("heading", name="conversations").first).to_be_visible()
        for landmark in ("main", "banner"):
            expect(self.page.get_by_role(landmark)).to_have_count(1)
        here = self.page.get_by_role("navigation", name="Page")
        expect(here.get_by_role("heading", name="API documentation")).to_be_visible()
