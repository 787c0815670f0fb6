"""Signing in at a certified OpenID provider, with groups and a second factor, and signing out there."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from playwright.sync_api import expect

from accounts.models import User
from accounts.services import register_user
from chatservice.testing import Service, free_port, needs_dialect, running_service, tried_once, wait_until
from conftest import CI
from tests.browser.case import BrowserTestCase

PROGRAM = Path(__file__).parents[1] / "clients" / "programs" / "openid_provider.mjs"
INSTALLED = Path(sys.prefix) / "clients"
CLIENT, SECRET, PASSWORD = "chat", "a secret of the two", "a long enough phrase"
FONTS = "fonts.googleapis.com"


@contextlib.contextmanager
def running_provider(port: int, service_url: str) -> Iterator[str]:
    """Start the provider, and stop it at the end of the block; yields its address."""
    if not (INSTALLED / "node_modules" / "oidc-provider").exists():
        missing = f"needs oidc-provider in {INSTALLED}: `make test` installs it"
        if CI:
            pytest.fail(f"{missing}, and CI=true promises it", pytrace=False)
        pytest.skip(missing)
    issuer = f"http://127.0.0.1:{port}"
    # From standard input, so that packages are found in the working directory.
    with PROGRAM.open() as source:
        process = subprocess.Popen(
            [str(INSTALLED / "bin" / "node"), "--input-type=module", "-", str(port), CLIENT, SECRET, service_url],
            cwd=INSTALLED,
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        wait_until(lambda: answers(f"{issuer}/.well-known/openid-configuration"), what="the OpenID provider")
        yield issuer
    finally:
        # The command starts Node as a process of its own, which would stay.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def code_for(secret: str, step: int = 0) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + step))


@tried_once
class OpenIDTest(BrowserTestCase):
    network_may_fail = True  # the provider has no icon, and a session on hold gets 401
    own: Service
    issuer: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        needs_dialect("graphql")
        port = free_port()
        cls.own = cls.enterClassContext(
            running_service(
                OIDC_ISSUER=f"http://127.0.0.1:{port}",
                OIDC_CLIENT_ID=CLIENT,
                OIDC_CLIENT_SECRET=SECRET,
                OIDC_NAME="Example ID",
                OIDC_SCOPES="openid,profile",
                OIDC_SIGN_UP="true",
                OIDC_GROUPS='{"chat": "Users of the chat"}',
                OIDC_STAFF_GROUPS="ops",
                LOGOUT_AT_PROVIDER="true",
                STAFF_SECOND_FACTOR="optional",
                ADMIN_ENABLED="true",
            )
        )
        # Passkeys need a name; under this one a browser takes plain http for secure.
        cls.at_home = cls.own.url.replace("127.0.0.1", "localhost")
        cls.issuer = cls.enterClassContext(running_provider(port, cls.at_home))

    def setUp(self) -> None:
        self.home = self.at_home
        self.options = {"base_url": self.at_home}
        super().setUp()
        # The provider's pages for developers ask for a font, which they do not get.
        self.context.route(f"https://{FONTS}/**", lambda route: route.abort())

    def elsewhere(self) -> list[str]:
        """Return what was requested but from the provider, and from where its pages have fonts."""
        provider = {urlsplit(self.issuer).netloc, FONTS}
        return [url for url in super().elsewhere() if urlsplit(url).netloc not in provider]

    def sign_in_at_provider(self, name: str) -> None:
        self.page.goto("/login")
        self.assert_accessible()
        self.page.get_by_role("link", name="Sign in with Example ID").click()
        self.page.wait_for_url(f"{self.issuer}/**")
        self.page.locator("input[name=login]").fill(name)
        self.page.locator("input[name=password]").fill("any")
        self.page.locator("button[type=submit]").click()
        self.page.get_by_role("button", name="Continue").click()

    def test_with_groups_an_app_and_signing_out_there(self) -> None:
        name = f"alice-{uuid.uuid4().hex[:8]}"
        self.sign_in_at_provider(f"{name}+chat+ops")
        self.page.wait_for_url(f"{self.at_home}/")
        user = User.objects.get(username=name)
        self.assertEqual([group.name for group in user.groups.all()], ["Users of the chat"])
        self.assertTrue(user.is_staff)
        expect(self.page.locator("#who")).to_have_text(name)

        self.page.goto("/admin/")
        self.page.get_by_role("link", name="Second factor").click()
        self.assert_accessible()
        self.page.get_by_role("link", name="Set up an authenticator app").click()
        secret = self.page.locator("#secret").inner_text()
        self.assert_accessible()
        self.page.get_by_label("Code").fill(code_for(secret))
        self.page.get_by_role("button", name="Set up").click()
        self.assertEqual(len(re.findall(r"\d{8}", self.page.locator("#codes").inner_text())), 10)

        self.page.goto("/")
        self.page.locator("#who").click()
        self.page.get_by_role("button", name="Sign out").click()
        self.page.wait_for_url(f"{self.issuer}/session/end**")
        self.page.get_by_role("button", name="Yes").click()
        self.page.wait_for_url(f"{self.at_home}/login**")

        self.sign_in_at_provider(f"{name}+chat+ops")  # it asks again, so it has signed out
        self.page.wait_for_url("**/login/second-factor/confirm?**")
        self.assert_accessible()
        self.page.goto("/")
        self.page.wait_for_url("**/login/second-factor/confirm?**")
        self.page.get_by_label("Code").fill(code_for(secret, 1))  # the code before it was not used to sign in
        self.page.get_by_role("button", name="Confirm").click()
        self.page.wait_for_url(f"{self.at_home}/")
        expect(self.page.locator("#who")).to_have_text(name)

    def test_a_passkey_confirms(self) -> None:
        tools = self.context.new_cdp_session(self.page)
        tools.send("WebAuthn.enable")
        device = {"protocol": "ctap2", "transport": "internal", "hasUserVerification": True, "isUserVerified": True}
        tools.send("WebAuthn.addVirtualAuthenticator", {"options": {**device, "automaticPresenceSimulation": True}})
        user = register_user(username=f"bob-{uuid.uuid4().hex[:8]}", password=PASSWORD, superuser=True)
        self.type_password(user)
        self.page.wait_for_url(f"{self.at_home}/")
        self.page.goto("/login/second-factor/passkeys/add")
        self.page.get_by_role("button", name="Add").click()
        self.page.wait_for_url("**/login/second-factor/codes")
        self.context.clear_cookies()
        self.type_password(user)
        self.page.wait_for_url("**/login/second-factor/confirm/passkey?**")
        self.assert_accessible()
        self.page.get_by_role("button", name="Use a passkey").click()
        self.page.wait_for_url(f"{self.at_home}/")
        self.page.goto("/admin/")
        expect(self.page.get_by_role("heading", name="Site administration")).to_be_visible()

    def type_password(self, user: User) -> None:
        self.page.goto("/login")
        self.page.get_by_label("Username").fill(user.username)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
