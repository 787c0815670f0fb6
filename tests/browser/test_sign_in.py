"""Signing in and out on the page."""

from __future__ import annotations

import uuid

from playwright.sync_api import expect

from accounts.services import register_user
from chatservice.testing import needs_dialect, tried_once
from tests.browser.case import BrowserTestCase

PASSWORD = "a long enough phrase"


@tried_once
class SignInTest(BrowserTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.user = register_user(username=f"alice-{uuid.uuid4().hex[:12]}", password=PASSWORD)

    def fill(self, username: str, password: str) -> None:
        self.page.goto("/login")
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def test_with_the_right_password_one_is_signed_in(self) -> None:
        needs_dialect("graphql")  # the next page sends GraphQL requests
        self.fill(self.user.username, PASSWORD)
        self.page.wait_for_url("**/")
        cookie = next(each for each in self.context.cookies() if each["name"] == "chat_session")
        self.assertTrue(cookie["httpOnly"])
        self.assertEqual(cookie["sameSite"], "Lax")

    def test_wrong_and_unknown_look_the_same(self) -> None:
        told = []
        for name in (self.user.username, f"nobody-{uuid.uuid4().hex[:12]}"):
            self.fill(name, "not the right phrase")
            told.append(self.page.get_by_role("alert").inner_text())
        self.assertEqual(told[0], told[1])
        self.assertEqual([each for each in self.context.cookies() if each["name"] == "chat_session"], [])

    def test_the_form_is_accessible(self) -> None:
        self.page.goto("/login")
        expect(self.page.get_by_role("heading", name="Sign in")).to_be_visible()
        self.assert_accessible()
