"""Signing in to the admin: so many attempts a minute from one address, whoever's name they use, and short sessions."""

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

LOGIN = "/admin/login/?next=/admin/"
PASSWORD = "a long enough phrase"


class AdminSignInTest(TestCase):
    def attempt(self, username: str, password: str, address: str):
        return Client(REMOTE_ADDR=address).post(LOGIN, {"username": username, "password": password})

    @override_settings(LIMIT_AUTH_FAILURES_PER_MINUTE=3)
    def test_an_address_is_held_off_and_the_account_is_not_locked(self) -> None:
        user = register_user(username=f"carol-{uuid.uuid4().hex[:8]}", password=PASSWORD, staff=True)
        for _ in range(3):
            self.assertContains(self.attempt(user.username, "wrong", "192.0.2.1"), "correct username and password")
        self.assertContains(self.attempt(user.username, PASSWORD, "192.0.2.1"), "Too many attempts")
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

    def test_it_is_off_by_itself_where_others_reach_the_service(self) -> None:
        script = "from chatservice import settings; print(settings.ADMIN_ENABLED)"
        for hosts, enabled in (
            ("chat.example.org", "False"),
            ("localhost,chat.example.org", "False"),
            ("localhost", "True"),
        ):
            environment = {**os.environ, "ALLOWED_HOSTS": hosts}
            told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
            self.assertEqual(told.stdout.strip(), enabled, told.stderr[-300:])
