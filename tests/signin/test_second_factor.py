"""The second factor of staff: until it is confirmed, a session counts for nothing, whoever began it."""

from __future__ import annotations

import base64
import re
import time
from dataclasses import replace
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from cryptography.fernet import InvalidToken
from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.test import Client, TestCase, override_settings

import chatservice.urls
from accounts.models import FailedSignIn, User
from accounts.services import register_user
from accounts.sessions import users_of_sessions
from chatservice.testing import tried_on
from signin.identities import link
from tests.signin.provider import CLIENT, HASHERS, SECRET, Provider
from tests.signin.test_openid import PASSWORD, SUBJECT

assert chatservice.urls.urlpatterns  # read before a test turns the settings on, which others must not notice
CONFIRM, INDEX, APP = "/login/second-factor/confirm", "/login/second-factor", "/login/second-factor/app"


def committing() -> Any:
    """Run what a request does on commit within the request, as outside of a test's transaction."""
    return mock.patch.object(transaction, "on_commit", lambda call, **_: call())


def code_at(secret: str, step: int = 0) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + step))


@override_settings(
    ROOT_URLCONF="tests.signin.urls", ADMIN_ENABLED=True, STAFF_SECOND_FACTOR="optional", PASSWORD_HASHERS=HASHERS
)
class SecondFactorCase(TestCase):
    def setUp(self) -> None:
        self.alice = register_user(username="alice", password=PASSWORD, superuser=True)
        self.secret = generate_totp_secret()

    def set_up(self, user: User | None = None) -> None:
        TOTP.activate(user or self.alice, self.secret)
        RecoveryCodes.activate(user or self.alice)

    def sign_in(self, browser: Client | None = None, **form: str) -> str:
        """Sign in by password and return where the browser is sent."""
        given = {"username": "alice", "password": PASSWORD, **form}
        sent = (browser or self.client).post("/login", given)
        self.assertEqual(sent.status_code, 302, sent.content)
        return sent.headers["Location"]

    def confirm(self, code: str, browser: Client | None = None, **form: str) -> Any:
        return (browser or self.client).post(CONFIRM, {"code": code, **form})

    def counts(self, browser: Client | None = None) -> bool:
        """Tell whether the browser's session counts: for the APIs, and for the admin."""
        client = browser or self.client
        key = client.session.session_key or ""
        for_apis = key in users_of_sessions([key])
        self.assertEqual(client.get("/admin/").status_code == 200, for_apis)
        return for_apis


@tried_on("sqlite")
class AskedTest(SecondFactorCase):
    def test_a_password_alone_is_not_enough(self):
        self.set_up()
        self.assertEqual(self.sign_in(next="/profile"), f"{CONFIRM}?next=%2Fprofile")
        self.assertFalse(self.counts())
        for path in (INDEX, APP, f"{APP}/remove", f"{INDEX}/codes", f"{INDEX}/codes/new", f"{INDEX}/passkeys/add"):
            for ask in (self.client.get, self.client.post):
                self.assertTrue(ask(path).headers["Location"].startswith(CONFIRM), path)
        self.assertEqual(self.client.get("/login").headers["Location"], f"{CONFIRM}?next=%2F")
        before = self.client.session.session_key
        sent = self.confirm(code_at(self.secret), next="/profile")
        self.assertEqual((sent.status_code, sent.headers["Location"]), (302, "/profile"))
        self.assertTrue(self.counts())
        self.assertNotEqual(self.client.session.session_key, before)
        self.assertEqual(self.client.get(INDEX).status_code, 200)

    def test_who_cannot_confirm_can_leave(self):
        self.set_up()
        self.sign_in()
        self.assertIn("/login/second-factor/leave", self.client.get(CONFIRM).content.decode())
        self.assertEqual(self.client.get("/login/second-factor/leave").status_code, 405)
        self.assertEqual(self.client.post("/login/second-factor/leave").headers["Location"], "/login")
        self.assertEqual(self.client.get("/login").status_code, 200)

    def test_the_admins_own_form_asks_too(self):
        self.set_up()
        self.client.post("/admin/login/?next=/admin/", {"username": "alice", "password": PASSWORD})
        self.assertFalse(self.counts())
        sent = self.client.get("/admin/accounts/user/")
        self.assertEqual(sent.headers["Location"], f"{CONFIRM}?next=%2Fadmin%2Faccounts%2Fuser%2F")
        self.assertEqual(self.client.get("/admin/password_change/").status_code, 302)
        self.assertEqual(self.client.post("/admin/logout/").status_code, 200)

    def test_wrong_codes_are_refused_and_slowed_down(self):
        self.set_up()
        self.sign_in()
        wrong = "000000" if code_at(self.secret) != "000000" else "000001"
        told = [self.confirm(wrong).status_code for _ in range(settings.LIMIT_PASSWORD_FAILURES)]
        self.assertEqual(set(told), {200})
        refused = self.confirm(code_at(self.secret))
        self.assertEqual(refused.status_code, 429)
        self.assertIn("LIMIT_PASSWORD_FAILURES", refused.content.decode())
        self.assertFalse(self.counts())
        self.assertTrue(FailedSignIn.objects.filter(user=self.alice).exists())

    def test_a_code_is_taken_once_and_none_that_is_older(self):
        self.set_up()
        self.sign_in()
        code = code_at(self.secret)
        self.assertEqual(self.confirm(code).status_code, 302)
        stranger = Client()
        self.sign_in(stranger)
        # As in another process, which does not share allauth's memory.
        with mock.patch("allauth.mfa.totp.internal.auth.cache.add", return_value=True):
            for used in (code, code_at(self.secret, -1)):
                self.assertEqual(self.confirm(used, stranger).status_code, 200)
                self.assertFalse(self.counts(stranger))
            self.assertEqual(self.confirm(code_at(self.secret, 1), stranger).status_code, 302)

    def test_a_recovery_code_is_taken_once(self):
        self.set_up()
        code = RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).generate_codes()[3]
        for expected in (302, 200):
            browser = Client()
            self.sign_in(browser)
            self.assertEqual(self.confirm(code, browser).status_code, expected)

    def test_a_session_from_before_cannot_enter_the_admin(self):
        self.sign_in()
        self.assertTrue(self.counts())
        self.set_up()
        self.assertTrue(self.client.get("/admin/").headers["Location"].startswith(CONFIRM))

    def test_a_passkey_that_does_not_fit_is_refused(self):
        """The whole of it, with a passkey, is tried in the browser's tests."""
        Authenticator.objects.create(user=self.alice, type="webauthn", data={"name": "mine", "credential": {}})
        with mock.patch("allauth.mfa.webauthn.internal.auth.get_credentials", return_value=[]):
            self.assertTrue(self.sign_in().startswith(f"{CONFIRM}/passkey"))
            for credential in ("{}", "nonsense", '{"id": "x"}', "[]", '"x"', '{"rawId": 1, "id": 1, "response": []}'):
                self.assertEqual(self.client.post(f"{CONFIRM}/passkey", {"credential": credential}).status_code, 200)
        self.assertFalse(users_of_sessions([self.client.session.session_key or ""]))

    def test_nobody_elses_code_confirms(self):
        self.set_up()
        bob = register_user(username="bob", password=PASSWORD, staff=True)
        others = generate_totp_secret()
        TOTP.activate(bob, others)
        self.sign_in()
        self.assertEqual(self.confirm(code_at(others)).status_code, 200)
        self.assertFalse(self.counts())

    def test_without_the_setting_nothing_is_asked(self):
        self.set_up()
        with override_settings(STAFF_SECOND_FACTOR="off"):
            self.assertEqual(self.sign_in(), "/")
            self.assertTrue(self.counts())


@tried_on("sqlite")
class SettingUpTest(SecondFactorCase):
    def test_an_app_is_set_up_and_removed(self):
        self.sign_in()
        page = self.client.get(APP)
        secret = re.search(r'<code id="secret">([A-Z2-7]+)</code>', page.content.decode())
        assert secret is not None
        self.assertIn("default-src 'none'", page.headers["Content-Security-Policy"])
        self.assertEqual(self.client.post(APP, {"code": "12345x"}).status_code, 200)
        with committing():
            sent = self.client.post(APP, {"code": code_at(secret[1])})
        self.assertEqual(sent.headers["Location"], f"{INDEX}/codes")
        self.assertTrue(self.counts())
        stored = str(Authenticator.objects.values_list("data", flat=True))
        self.assertNotIn(secret[1], stored)
        codes = self.client.get(f"{INDEX}/codes").content.decode()
        self.assertEqual(len(re.findall(r"<li><code>\d{8}</code></li>", codes)), 10)
        # Later, whoever finds the browser must confirm it once more before anything is changed.
        session = self.client.session
        session["account_authentication_methods"] = []
        session.save()
        for path in (f"{APP}/remove", f"{INDEX}/codes", f"{INDEX}/codes/new", f"{INDEX}/passkeys/add"):
            for ask in (self.client.get, self.client.post):
                if (ask, path) != (self.client.post, f"{INDEX}/codes"):
                    self.assertTrue(ask(path).headers["Location"].startswith(CONFIRM), path)
        self.confirm(code_at(secret[1]), next=f"{APP}/remove")
        self.assertEqual(self.client.post(f"{APP}/remove").status_code, 302)
        self.assertFalse(Authenticator.objects.exists())

    def test_the_first_factor_needs_a_fresh_sign_in(self):
        self.sign_in()
        session = self.client.session
        session["signed_in_at"] = time.time() - 601
        session.save()
        for ask in (self.client.get, self.client.post):
            self.assertEqual(ask(APP).headers["Location"], "/login?next=%2Flogin%2Fsecond-factor%2Fapp")

    @override_settings(STAFF_SECOND_FACTOR="required")
    def test_a_session_on_hold_is_not_sent_in_circles(self):
        self.sign_in()
        session = self.client.session
        session["signed_in_at"] = time.time() - 601
        session.save()
        self.assertEqual(self.client.get(INDEX, follow=True).redirect_chain[-1][0].partition("?")[0], "/login")
        self.assertNotIn("_auth_user_id", self.client.session)
        self.set_up()
        self.sign_in()
        Authenticator.objects.all().delete()
        self.assertEqual(self.client.get("/login", follow=True).status_code, 200)
        self.assertNotIn("_auth_user_id", self.client.session)

    def test_it_is_for_staff(self):
        User.objects.update(is_staff=False, is_superuser=False)
        self.assertEqual(self.sign_in(), "/")
        self.assertEqual(self.client.get(APP).status_code, 403)
        self.assertEqual(Client().get(APP).headers["Location"], "/login?next=%2Flogin%2Fsecond-factor%2Fapp")

    def test_who_is_no_longer_staff_is_still_asked(self):
        self.set_up()
        User.objects.update(is_staff=False, is_superuser=False)
        self.assertTrue(self.sign_in().startswith(CONFIRM))

    @override_settings(STAFF_SECOND_FACTOR="required")
    def test_staff_who_must_have_one_can_do_nothing_before(self):
        register_user(username="bob", password=PASSWORD)
        self.assertEqual(self.sign_in(next="/admin/"), f"{INDEX}?next=%2Fadmin%2F")
        self.assertFalse(self.counts())
        self.assertEqual(self.client.get(INDEX).status_code, 200)
        self.client.get(APP)
        secret = self.client.session["mfa.totp.secret"]
        with committing():
            self.client.post(APP, {"code": code_at(secret)})
        self.assertTrue(self.counts())
        self.assertEqual(self.sign_in(Client(), username="bob"), "/")

    def test_an_operator_can_reset_it(self):
        self.set_up()
        self.sign_in()
        call_command("reset_second_factor", "alice", verbosity=0)
        self.assertFalse(Authenticator.objects.exists())
        self.assertEqual(self.sign_in(Client()), "/")

    def test_secrets_are_read_with_the_pepper_only(self):
        adapter = get_adapter()
        sealed = adapter.encrypt(self.secret)
        self.assertEqual(adapter.decrypt(sealed), self.secret)
        self.assertNotIn(self.secret, sealed + str(base64.urlsafe_b64decode(sealed)))
        with override_settings(KEY_PEPPER="another " * 8), self.assertRaises(InvalidToken):
            adapter.decrypt(sealed)


@tried_on("sqlite")
class WithAProviderTest(SecondFactorCase):
    def setUp(self) -> None:
        super().setUp()
        self.provider = Provider()
        self.addCleanup(self.provider.close)
        self.set_up()

    def at_provider(self, **changed: Any) -> Any:
        given = {"issuer": self.provider.issuer, "client_id": CLIENT, "client_secret": SECRET, **changed}
        with override_settings(OIDC=replace(settings.OIDC, **given)):
            link(user=self.alice, subject=SUBJECT)
            address = urlsplit(self.client.get("/login/openid").headers["Location"])
            asked = {name: values[0] for name, values in parse_qs(address.query).items()}
            answer = {"code": self.provider.grant(asked), "state": asked["state"]}
            return self.client.get("/login/openid/callback", answer)

    def test_it_is_asked_for_after_the_provider_too(self):
        self.assertEqual(self.at_provider().headers["Location"], f"{CONFIRM}?next=%2F")
        self.assertFalse(self.counts())
        self.assertEqual(self.confirm(code_at(self.secret)).status_code, 302)
        self.assertTrue(self.counts())

    def test_the_providers_own_counts_where_the_setting_says_so(self):
        self.provider.claims = {"amr": ["pwd", "otp"]}
        self.assertEqual(self.at_provider(second_factor=frozenset({"hwk"})).headers["Location"], f"{CONFIRM}?next=%2F")
        self.assertEqual(self.at_provider(second_factor=frozenset({"otp"})).headers["Location"], "/")
        self.assertTrue(self.counts())
