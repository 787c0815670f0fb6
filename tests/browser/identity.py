"""Alice's tab, while somebody signs in or out elsewhere in the same browser."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2
from django.conf import settings
from django.contrib.sessions.models import Session
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from accounts.models import User
from chatservice.testing import wait_until
from conversations.models import Message
from tests.browser.chatting import ChatCase

PASSWORD = "a long enough phrase"
# A tab without messages from other tabs: it notices a change only when the service refuses a request.
DEAF = "globalThis.BroadcastChannel = class { postMessage() {} }"


class IdentityCase(ChatCase):
    """Alice is signed in, and can sign in again. `self.text` must never reach anybody but her."""

    network_may_fail = True  # the browser logs refused requests

    def setUp(self) -> None:
        super().setUp()
        for api_user in (self.alice, self.bob):
            api_user.user.set_password(PASSWORD)
            api_user.user.save()
        self.sign_in(self.user)
        self.text = f"For Alice alone {uuid.uuid4().hex}"

    def deaf(self) -> Page:
        self.page.add_init_script(DEAF)
        return self.page

    # --- changes that the tab does not see

    def sign_in_by_form(self, user: User, page: Page | None = None) -> Page:
        """Sign in with the form; in a new tab, unless the form is already open."""
        shown = page or self.context.new_page()
        if page is None:
            shown.goto("/login")
        shown.get_by_label("Username").fill(user.username)
        shown.get_by_label("Password").fill(PASSWORD)
        shown.get_by_role("button", name="Sign in").click()
        shown.wait_for_url(lambda url: "/login" not in url)
        self.is_ready(shown)
        return shown

    def sign_out_elsewhere(self) -> None:
        other = self.open(page=self.context.new_page())
        other.get_by_role("button", name="Sign out").click()
        other.wait_for_url("**/login?next=**")
        other.close()

    def cookie_runs_out(self) -> None:
        self.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)

    def session_runs_out(self) -> None:
        Session.objects.filter(pk=self.cookie()).update(expire_date=timezone.now())
        self.wait_until_refused()

    def account_is_deactivated(self) -> None:
        User.objects.filter(pk=self.user.pk).update(is_active=False)
        self.wait_until_refused()

    def bob_signs_in_elsewhere(self) -> None:
        self.sign_in_by_form(self.bob.user).close()

    def cookie(self) -> str:
        return next(each["value"] for each in self.context.cookies() if each["name"] == settings.SESSION_COOKIE_NAME)

    def wait_until_refused(self) -> None:
        """Wait for KEY_CACHE_SECONDS, because the service may cache the session that long."""
        headers = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={self.cookie()}", "X-Requested-With": "test"}
        body = {"query": "{ me { id } }"}
        url = f"{self.service.url}/graphql"
        wait_until(
            lambda: httpx2.post(url, json=body, headers=headers, trust_env=False).status_code == 401,
            what="the end of the session",
        )

    # --- what the tab shows

    def field(self) -> Locator:
        return self.page.get_by_label("Message", exact=True)

    def dialog(self, title: str) -> Locator:
        """Wait for the dialog with this title."""
        dialog = self.page.get_by_role("alertdialog", name=title)
        expect(dialog).to_be_visible()
        return dialog

    def is_kept_and_stored_for_nobody(self) -> None:
        expect(self.field()).to_have_value(self.text)
        self.is_stored_for_nobody()
        self.assert_accessible()

    def is_stored_for_nobody(self) -> None:
        self.assertEqual(self.owners(), [])

    def owners(self) -> list[Any]:
        """Return the owners of all conversations that contain the text."""
        return list(Message.objects.filter(content=self.text).values_list("conversation__owner_id", flat=True))

    def is_sent_after_signing_in_again(self) -> None:
        """Sign in as the dialog suggests; check that the text is still there and is sent to its own conversation."""
        User.objects.filter(pk=self.user.pk).update(is_active=True)
        self.page.get_by_role("alertdialog").get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/login?next=**")
        self.sign_in_by_form(self.user, self.page)
        expect(self.field()).to_have_value(self.text)
        self.field().press("Enter")
        wait_until(self.owners, what="the message in Alice's space")
        self.assertEqual(self.owners(), [self.user.pk])
