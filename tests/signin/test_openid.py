"""Signing in at an OpenID provider: who is let in, and every answer that must be refused."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import replace
from io import StringIO
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

from allauth.socialaccount.models import SocialAccount, SocialToken
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import Client, TestCase, override_settings

import chatservice.urls
from accounts.models import User
from accounts.services import deactivate_users, register_user
from chatservice.testing import tried_on
from signin.identities import link
from signin.openid_provider import forget_documents
from tests.signin.provider import CLIENT, HASHERS, SECRET, Provider

assert chatservice.urls.urlpatterns  # read before a test turns the settings on, which others must not notice
PASSWORD = "a long enough phrase"
SUBJECT = "alice-at-home"


@override_settings(ROOT_URLCONF="tests.signin.urls", PASSWORD_HASHERS=HASHERS)
class OpenIDCase(TestCase):
    provider: Provider

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.provider = Provider()
        cls.addClassCleanup(cls.provider.close)

    def setUp(self) -> None:
        self.provider.reset()
        self.use()
        self.alice = register_user(username="alice", password=PASSWORD, email="alice@example.org")

    def use(self, **changed: Any) -> None:
        given = {"issuer": self.provider.issuer, "client_id": CLIENT, "client_secret": SECRET, "name": "Example ID"}
        changed_settings = override_settings(OIDC=replace(settings.OIDC, **{**given, **changed}))
        changed_settings.enable()
        self.addCleanup(changed_settings.disable)

    def begin(self, browser: Client, path: str = "/login/openid") -> dict[str, str]:
        """Return what the browser is sent to the provider with."""
        sent = browser.get(path)
        self.assertEqual(sent.status_code, 302, sent.content)
        address = urlsplit(sent.headers["Location"])
        self.assertEqual(f"{address.scheme}://{address.netloc}{address.path}", f"{self.provider.issuer}/auth")
        return {name: values[0] for name, values in parse_qs(address.query).items()}

    def finish(self, browser: Client, asked: dict[str, str], **changed: str) -> HttpResponse:
        answer = {"code": self.provider.grant(asked), "state": asked["state"], **changed}
        return browser.get("/login/openid/callback", answer)  # type: ignore[return-value]

    def sign_in(self, browser: Client | None = None, path: str = "/login/openid") -> HttpResponse:
        browser = browser or self.client
        return self.finish(browser, self.begin(browser, path))

    def assert_refused(self, response: HttpResponse, browser: Client | None = None) -> None:
        self.assertEqual(response.status_code, 403, response.content)
        self.assertIn("default-src 'none'", response.headers["Content-Security-Policy"])
        self.assertIsNone(self.user_of(browser or self.client))

    def user_of(self, browser: Client) -> str | None:
        found: str | None = browser.session.get("_auth_user_id")
        return found


@tried_on("sqlite")
class AnswersTest(OpenIDCase):
    """Each of these answers would sign Alice in, if what is wrong with it went unnoticed."""

    def setUp(self) -> None:
        super().setUp()
        link(user=self.alice, subject=SUBJECT)

    def test_the_right_answer_signs_in(self):
        asked = self.begin(self.client)
        self.assertEqual(asked["redirect_uri"], "http://testserver/login/openid/callback")
        self.assertEqual((asked["response_type"], asked["code_challenge_method"]), ("code", "S256"))
        self.assertEqual(set(asked["scope"].split()), {"openid", "profile", "email"})
        response = self.finish(self.client, asked)
        self.assertRedirects(response, "/", fetch_redirect_response=False)
        self.assertEqual(self.user_of(self.client), str(self.alice.pk))
        digest = hashlib.sha256(self.provider.asked["code_verifier"].encode()).digest()
        self.assertEqual(base64.urlsafe_b64encode(digest).decode().rstrip("="), asked["code_challenge"])
        self.assertEqual(self.provider.asked["client_secret"], SECRET)

    def test_wrong_claims_are_refused(self):
        wrong: list[dict[str, Any]] = [
            {"iss": "http://127.0.0.1:1"},
            {"iss": None},
            {"aud": "another service"},
            {"aud": ["another service"]},
            {"aud": [CLIENT, "another service"]},
            {"aud": [CLIENT, "another service"], "azp": "another service"},
            {"azp": "another service"},
            {"aud": None},
            {"nonce": "another"},
            {"nonce": None},
            {"nonce": ""},
            {"exp": 1_000_000_000},
            {"exp": None},
            {"iat": 9_000_000_000},
            {"iat": None},
            {"sub": None},
            {"sub": "bob-at-home"},
        ]
        for claims in wrong:
            with self.subTest(claims), self.assertLogs("signin", "WARNING"):
                self.provider.claims = claims
                self.assert_refused(self.sign_in())

    def test_wrong_signatures_are_refused(self):
        ways: list[tuple[str, Any]] = [
            ("RS256", self.provider.other_key),
            ("none", None),
            ("HS256", SECRET + " and more so that it is long enough"),
        ]
        for algorithm, key in ways:
            with self.subTest(algorithm), self.assertLogs("signin", "WARNING"):
                self.provider.algorithm, self.provider.signing_key = algorithm, key
                self.assert_refused(self.sign_in())

    def test_a_state_that_was_not_given_to_this_browser_is_refused(self):
        asked = self.begin(self.client)
        stranger = Client()
        for changed in ({"state": "x" * 16}, {"state": ""}):
            with self.subTest(changed), self.assertLogs("signin", "WARNING"):
                self.assert_refused(self.finish(self.client, asked, **changed))
        with self.assertLogs("signin", "WARNING"):  # the answer was meant for another browser: login CSRF
            self.assert_refused(self.finish(stranger, asked), stranger)

    def test_an_answer_is_taken_once(self):
        asked = self.begin(self.client)
        code = self.provider.grant(asked)
        self.assertEqual(self.finish(self.client, asked, code=code).status_code, 302)
        browser = Client()
        with self.assertLogs("signin", "WARNING"):
            self.assert_refused(self.finish(browser, asked, code=code), browser)
        with self.assertLogs("signin", "WARNING"):  # a used code, with a new state
            self.assert_refused(self.finish(browser, self.begin(browser), code=code), browser)
        signed_in = self.client.session.session_key
        with self.assertLogs("signin", "WARNING"):
            self.assertEqual(self.finish(self.client, asked, code=code).status_code, 403)
        self.assertEqual(self.client.session.session_key, signed_in)

    def test_the_answer_of_another_provider_is_refused(self):
        with self.assertLogs("signin", "WARNING"):
            self.assert_refused(self.finish(self.client, self.begin(self.client), iss="http://127.0.0.1:1"))
        asked = self.begin(self.client)
        self.provider.told_issuer = "http://127.0.0.1:1"
        forget_documents()
        with self.assertLogs("signin", "WARNING"):
            self.assert_refused(self.finish(self.client, asked))
        with self.assertLogs("signin", "ERROR"):
            self.assertEqual(self.client.get("/login/openid").status_code, 502)

    def test_the_providers_next_key_is_found(self):
        self.assertEqual(self.sign_in().status_code, 302)
        self.provider.kid = "second"
        self.assertEqual(self.sign_in(Client()).status_code, 302)

    def test_sign_ins_that_are_begun_are_limited(self):
        with mock.patch("signin.views.STARTS_PER_MINUTE", 3):
            told = [self.client.get("/login/openid") for _ in range(5)]
        self.assertEqual(told[-1].status_code, 429)
        self.assertTrue(1 <= int(told[-1].headers["Retry-After"]) <= 60)

    def test_what_the_provider_tells_about_somebody_else_is_refused(self):
        self.provider.userinfo = {"sub": "bob-at-home"}
        with self.assertLogs("signin", "WARNING"):
            self.assert_refused(self.sign_in())

    def test_a_provider_that_refuses_or_cannot_be_reached_gets_a_page(self):
        asked = self.begin(self.client)
        with self.assertLogs("signin", "WARNING"):
            told = self.client.get("/login/openid/callback", {"error": "access_denied", "state": asked["state"]})
        self.assert_refused(told)  # type: ignore[arg-type]
        self.use(issuer="http://127.0.0.1:1")
        with self.assertLogs("signin", "ERROR"):
            self.assertEqual(self.client.get("/login/openid").status_code, 502)

    def test_other_sites_cannot_begin_a_sign_in(self):
        for site in ("cross-site", "same-site"):
            sent = self.client.get("/login/openid", headers={"Sec-Fetch-Site": site})
            self.assertEqual((sent.status_code, sent.headers["Location"]), (302, "/login"))
        self.assertEqual(self.client.post("/login/openid").status_code, 405)

    def test_only_an_address_of_ours_is_gone_to_afterwards(self):
        for given, gone_to in (
            ("/profile", "/profile"),
            ("https://elsewhere.example/", "/"),
            ("//elsewhere.example/", "/"),
            ("javascript:alert(1)", "/"),
        ):
            with self.subTest(given):
                response = self.sign_in(Client(), f"/login/openid?next={given}")
                self.assertEqual(response.headers["Location"], gone_to)

    def test_parameters_of_the_request_change_nothing_else(self):
        asked = self.begin(self.client, "/login/openid?process=connect&scope=admin&auth_params=prompt%3Dnone")
        self.assertNotIn("admin", asked["scope"])
        self.assertNotIn("prompt", asked)


@tried_on("sqlite")
class AccountsTest(OpenIDCase):
    def claim(self, **claims: Any) -> None:
        self.provider.claims = claims

    def test_somebody_without_a_linked_account_is_refused(self):
        self.claim(email="alice@example.org", email_verified=True, preferred_username="alice")
        response = self.sign_in()
        self.assert_refused(response)
        self.assertIn(SUBJECT, response.content.decode())
        self.assertEqual((User.objects.count(), SocialAccount.objects.count()), (1, 0))

    def test_only_the_same_provider_signs_in_to_a_linked_account(self):
        SocialAccount.objects.create(user=self.alice, provider="https://former.example", uid=SUBJECT)
        self.assert_refused(self.sign_in())

    def sign_in_by_password(self, browser: Client) -> None:
        self.assertEqual(browser.post("/login", {"username": "alice", "password": PASSWORD}).status_code, 302)

    def test_people_link_their_own_account(self):
        self.sign_in_by_password(self.client)
        self.assertIn("alice", self.client.get("/login/openid/link").content.decode())
        way = self.client.post("/login/openid/link").headers["Refresh"].removeprefix("0; url=")
        self.assertEqual(self.sign_in(self.client, way).headers["Location"], "/profile")
        self.assertEqual(SocialAccount.objects.get().user, self.alice)
        browser = Client()
        self.sign_in(browser)
        self.assertEqual(self.user_of(browser), str(self.alice.pk))

    def test_nothing_is_linked_unless_its_owner_asked_just_now(self):
        self.sign_in_by_password(self.client)
        self.assertEqual(self.sign_in().status_code, 403)  # signed in, but did not ask
        self.client.post("/login/openid/link")
        session = self.client.session
        session["openid_link"] = {**session["openid_link"], "until": time.time() - 1}
        session.save()
        self.assertEqual(self.sign_in().status_code, 403)
        self.client.post("/login/openid/link")
        self.client.logout()
        self.assertEqual(self.sign_in().status_code, 403)
        self.sign_in_by_password(self.client)
        session = self.client.session
        session["signed_in_at"] = time.time() - 601
        session.save()
        for ask in (self.client.get, self.client.post):
            self.assertTrue(ask("/login/openid/link").headers["Location"].startswith("/login?"))
        forger = Client(enforce_csrf_checks=True)
        forger.force_login(self.alice)
        self.assertEqual(forger.post("/login/openid/link").status_code, 403)
        self.assertFalse(SocialAccount.objects.exists())

    def test_an_identity_of_somebody_else_is_not_taken_over(self):
        bob = register_user(username="bob")
        link(user=bob, subject=SUBJECT)
        self.sign_in_by_password(self.client)
        self.client.post("/login/openid/link")
        self.sign_in()
        self.assertEqual(SocialAccount.objects.get().user, bob)
        self.assertEqual(self.user_of(self.client), str(bob.pk))

    def test_an_account_is_linked_by_an_address_that_the_provider_verified(self):
        self.use(link_by_email=True)
        for claims in (
            {"email": "alice@example.org"},
            {"email": "alice@example.org", "email_verified": False},
            {"email": "alice@example.org", "email_verified": "true"},
            {"email": "bob@example.org", "email_verified": True},
        ):
            with self.subTest(claims):
                self.claim(**claims)
                self.assert_refused(self.sign_in())
        self.claim(email="Alice@example.org", email_verified=True)
        self.assertEqual(self.sign_in().status_code, 302)
        self.claim()
        self.assertEqual(self.sign_in(Client()).status_code, 302)
        self.alice.refresh_from_db()
        self.assertTrue(self.alice.check_password(PASSWORD))

    def test_an_address_of_staff_or_of_two_accounts_links_none(self):
        self.use(link_by_email=True)
        self.claim(email="alice@example.org", email_verified=True)
        User.objects.update(is_staff=True)
        self.assert_refused(self.sign_in())
        User.objects.update(is_staff=False)
        register_user(username="bob", email="alice@example.org")
        self.assert_refused(self.sign_in())

    def test_sign_up_makes_an_account_without_a_password(self):
        self.use(sign_up=True)
        self.claim(preferred_username="Alice", email="alice@example.org", email_verified=True)
        self.assertEqual(self.sign_in().status_code, 302)
        made = User.objects.exclude(pk=self.alice.pk).get()
        self.assertEqual(self.user_of(self.client), str(made.pk))
        self.assertEqual((made.username, made.email, made.is_staff), ("Alice-2", "alice@example.org", False))
        self.assertFalse(made.has_usable_password())
        self.assertEqual(self.sign_in(Client()).status_code, 302)
        self.assertEqual((User.objects.count(), SocialToken.objects.count()), (2, 0))

    def test_a_deactivated_account_is_refused(self):
        link(user=self.alice, subject=SUBJECT)
        deactivate_users(users=[self.alice])
        self.assert_refused(self.sign_in())

    def test_groups_and_staff_follow_the_provider(self):
        self.use(groups={"chat": "Users", "team": "Team"}, staff_groups=frozenset({"ops"}))
        link(user=self.alice, subject=SUBJECT)
        self.alice.groups.add(Group.objects.create(name="Kept"), Group.objects.create(name="Team"))
        self.claim(groups=["chat", "ops", "unknown", 3])
        self.assertEqual(self.sign_in().status_code, 302)
        self.alice.refresh_from_db()
        self.assertEqual(set(self.alice.groups.values_list("name", flat=True)), {"Kept", "Users"})
        self.assertEqual((self.alice.is_staff, self.alice.is_superuser), (True, False))
        self.claim()
        self.assertEqual(self.sign_in(Client()).status_code, 302)
        self.alice.refresh_from_db()
        self.assertEqual(set(self.alice.groups.values_list("name", flat=True)), {"Kept"})
        self.assertFalse(self.alice.is_staff)

    def test_groups_may_be_inside_of_a_claim_and_come_with_the_userinfo(self):
        self.use(groups={"chat": "Users"}, groups_claim="realm_access.roles")
        link(user=self.alice, subject=SUBJECT)
        self.provider.userinfo = {"realm_access": {"roles": ["chat"]}}
        self.assertEqual(self.sign_in().status_code, 302)
        self.assertEqual(self.alice.groups.get().name, "Users")

    def test_superusers_stay_what_they_are(self):
        self.use(staff_groups=frozenset({"ops"}))
        User.objects.update(is_staff=True, is_superuser=True)
        link(user=self.alice, subject=SUBJECT)
        self.assertEqual(self.sign_in().status_code, 302)
        self.alice.refresh_from_db()
        self.assertTrue(self.alice.is_staff and self.alice.is_superuser)

    def test_the_command_links_and_unlinks(self):
        said = StringIO()
        call_command("link_identity", "ALICE", SUBJECT, stdout=said)
        self.assertEqual(self.sign_in().status_code, 302)
        register_user(username="bob")
        with self.assertRaises(CommandError):
            call_command("link_identity", "bob", SUBJECT)
        call_command("link_identity", "alice", unlink=True, stdout=said)
        self.assert_refused(self.sign_in(browser := Client()), browser)


@tried_on("sqlite")
class PagesTest(OpenIDCase):
    def test_the_page_shows_the_provider(self):
        page = self.client.get("/login?next=/profile").content.decode()
        self.assertIn('href="/login/openid?next=%2Fprofile"', page)
        self.assertIn("Sign in with Example ID", page)

    def test_passwords_can_be_turned_off(self):
        with override_settings(PASSWORD_SIGN_IN=False):
            self.assertNotIn('name="password"', self.client.get("/login").content.decode())
            for path in ("/login", "/admin/login/"):
                User.objects.update(is_staff=True, is_superuser=True)
                refused = self.client.post(path, {"username": "alice", "password": PASSWORD})
                self.assertNotEqual(refused.headers.get("Location"), "/")
                self.assertIsNone(self.user_of(self.client))
        self.assertEqual(self.client.post("/login", {"username": "alice", "password": PASSWORD}).status_code, 302)

    @override_settings(ADMIN_ENABLED=True)
    def test_the_admin_sends_to_the_page(self):
        sent = self.client.get("/admin/login/?next=/admin/accounts/user/")
        self.assertEqual(sent.headers["Location"], "/login?next=%2Fadmin%2Faccounts%2Fuser%2F")

    @override_settings(ADMIN_ENABLED=True)
    def test_the_admins_sign_out_goes_there_too(self):
        User.objects.update(is_staff=True)
        link(user=self.alice, subject=SUBJECT)
        self.use(sign_out=True)
        self.sign_in()
        left = self.client.post("/admin/logout/")
        self.assertEqual(left.status_code, 200)
        self.assertTrue(left.headers["Refresh"].startswith(f"0; url={self.provider.issuer}/leave?id_token_hint="))

    def sign_out(self) -> HttpResponse:
        marks = {"Host": "testserver", "X-Requested-With": "chat", "Origin": "http://testserver"}
        return self.client.post("/logout", headers=marks)  # type: ignore[return-value]

    def test_signing_out_at_the_provider_too(self):
        link(user=self.alice, subject=SUBJECT)
        self.use(sign_out=True)
        self.sign_in()
        sent = urlsplit(self.sign_out().json()["location"])
        told = parse_qs(sent.query)
        self.assertEqual(f"{sent.scheme}://{sent.netloc}{sent.path}", f"{self.provider.issuer}/leave")
        self.assertEqual(told["post_logout_redirect_uri"], ["http://testserver/login"])
        self.assertEqual(told["id_token_hint"][0].count("."), 2)
        self.assertIsNone(self.user_of(self.client))

    def test_nothing_of_the_provider_is_kept_without_that(self):
        link(user=self.alice, subject=SUBJECT)
        self.sign_in()
        kept = str(dict(self.client.session.items()))
        self.assertNotIn("eyJ", kept)
        self.assertNotIn("opaque", kept)
        self.assertEqual(self.sign_out().status_code, 204)


@tried_on("sqlite")
class OffTest(TestCase):
    def test_no_page_is_there_by_default(self):
        for path in (
            *("/login/openid", "/login/openid/callback", "/login/second-factor", "/login/second-factor/confirm"),
            *("/accounts/login", "/accounts/signup", "/accounts/password/reset", "/login/signup"),
        ):
            self.assertEqual(self.client.get(path).status_code, 404, path)
