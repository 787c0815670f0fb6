"""Signing in to the admin: a limit of attempts per minute and address, for any username, and short sessions."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import uuid
from unittest import mock

from django.conf import settings
from django.core.management import call_command
from django.test import Client, TestCase, override_settings

from accounts.models import User
from accounts.services import register_user
from chatservice import urls
from chatservice.testing import wait_for_minute

LOGIN = "/admin/login/?next=/admin/"
PASSWORD = "a long enough phrase"


class AdminSignInTest(TestCase):
    def attempt(self, username: str, password: str, address: str):
        return Client(REMOTE_ADDR=address).post(LOGIN, {"username": username, "password": password})

    @override_settings(LIMIT_AUTH_FAILURES_PER_MINUTE=3)
    def test_an_address_is_held_off_and_the_account_is_not_locked(self) -> None:
        user = register_user(username=f"carol-{uuid.uuid4().hex[:8]}", password=PASSWORD, staff=True)
        wait_for_minute()
        for _ in range(3):
            self.assertContains(self.attempt(user.username, "wrong", "192.0.2.1"), "correct username and password")
        refused = self.attempt(user.username, PASSWORD, "192.0.2.1")
        self.assertContains(refused, "Too many attempts", status_code=429)
        self.assertTrue(1 <= int(refused.headers["Retry-After"]) <= 60)
        response = self.attempt(user.username, PASSWORD, "192.0.2.2")
        self.assertRedirects(response, "/admin/", fetch_redirect_response=False)
        cookie = response.cookies[settings.SESSION_COOKIE_NAME]
        self.assertEqual((cookie["max-age"], cookie["httponly"], cookie["samesite"]), (8 * 3600, True, "Lax"))

    def test_who_is_not_staff_gets_no_further_than_the_form(self) -> None:
        user = register_user(username=f"alice-{uuid.uuid4().hex[:8]}", password=PASSWORD)
        self.assertContains(self.attempt(user.username, PASSWORD, "192.0.2.3"), "for a staff account")

    def test_createsuperuser_makes_an_account_that_gets_in(self) -> None:
        with mock.patch.dict("os.environ", {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}):
            call_command(
                "createsuperuser", "--noinput", "--username", "chief", "--email", "chief@example.org", verbosity=0
            )
        self.assertTrue(User.objects.get(username="chief").is_superuser)
        self.assertRedirects(self.attempt("chief", PASSWORD, "192.0.2.4"), "/admin/", fetch_redirect_response=False)

    def test_the_site_is_there_only_where_it_is_enabled(self) -> None:
        def mounted() -> bool:
            return any(str(each.pattern) == "admin/" for each in importlib.reload(urls).urlpatterns)

        self.addCleanup(importlib.reload, urls)
        self.assertTrue(mounted())
        with override_settings(ADMIN_ENABLED=False):
            self.assertFalse(mounted())

    @override_settings(ADMIN_ENABLED="auto")
    def test_by_itself_it_answers_nobody_whose_connection_is_not_known_to_be_ours(self) -> None:
        user = register_user(username=f"root-{uuid.uuid4().hex[:8]}", superuser=True)
        browser = Client()
        browser.force_login(user)
        for page in ("/admin/", LOGIN, "/admin/jsi18n/", "/admin/nothing/", "/admin/accounts/user/", "/admin/logout/"):
            answer = browser.get(page)
            self.assertContains(answer, "ADMIN_ENABLED=true", status_code=403)
        self.assertContains(self.attempt(user.username, PASSWORD, "127.0.0.1"), "ADMIN_ENABLED=true", status_code=403)

    def test_the_setting_is_auto_or_a_truth_value(self) -> None:
        script = "from chatservice import settings; print(repr(settings.ADMIN_ENABLED))"
        for given, read in (
            ("", "'auto'"),
            ("auto", "'auto'"),
            (" Auto", "'auto'"),
            ("true", "True"),
            ("false", "False"),
        ):
            environment = os.environ | ({"ADMIN_ENABLED": given} if given else {})
            told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
            self.assertEqual(told.stdout.strip(), read, told.stderr[-300:])


class AdminFormTest(TestCase):
    def test_a_form_that_was_opened_by_one_and_sent_after_another_signed_in_is_refused(self):
        """Django itself refuses it, because the CSRF token changes at every sign-in."""
        browser = Client(enforce_csrf_checks=True)
        for name in ("carol", "dave"):
            register_user(username=name, password=PASSWORD, superuser=True)
        target = register_user(username="target")

        def sign_in(name: str) -> None:
            token = browser.get("/login").context["csrf_token"]
            given = {"username": name, "password": PASSWORD, "csrfmiddlewaretoken": str(token)}
            self.assertEqual(browser.post("/login", given).status_code, 302)

        form = f"/admin/accounts/user/{target.pk}/delete/"
        sign_in("carol")
        hers = {"post": "yes", "csrfmiddlewaretoken": str(browser.get(form).context["csrf_token"])}
        sign_in("dave")
        self.assertEqual(browser.post(form, hers).status_code, 403)
        target.refresh_from_db()  # the user still exists
