"""Which user a session stands for, which requests may use it, and when it ends."""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client, SimpleTestCase, TestCase, override_settings
from django.utils import timezone

from accounts.callers import Caller, NotAdmitted
from accounts.credential_watch import SIGNED_OUT, find_refused
from accounts.principal import clear_cache, known_principal, principal_of_key, resolve_principal
from accounts.services import issue_api_key, register_user, update_user
from accounts.sessions import refusal_of
from chatservice.testing import wait_for_minute

HOME = {"host": "chat.example.org"}
OUR_PAGE = {"origin": "https://chat.example.org", "sec-fetch-site": "same-origin", "x-requested-with": "chat"}


class RuleTest(SimpleTestCase):
    """`refusal_of` decides which requests come from our own page."""

    def admits(self, method: str, headers: dict[str, str], secure: bool = True) -> bool:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return not refusal_of(method, {**HOME, **named}, secure=secure)

    def test_reading_needs_one_sign_of_our_page_and_none_of_another(self):
        good = [
            {"sec_fetch_site": "same-origin"},
            {"sec_fetch_site": "none"},
            {"origin": "https://chat.example.org"},
            {"referer": "https://chat.example.org/"},
            {"x_requested_with": "chat"},
        ]
        bad = [
            {},
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site", "x_requested_with": "chat"},
            {"sec_fetch_site": "same-origin", "origin": "null"},
            {"origin": "https://evil.example"},
            {"origin": "https://chat.example.org.evil.example"},
            {"origin": "https://chat.example.org:8443"},
            {"origin": "http://chat.example.org"},
            {"origin": "https://[", "x_requested_with": "chat"},
            {"referer": "https://evil.example/chat.example.org"},
        ]
        for headers in good:
            self.assertTrue(self.admits("GET", headers), headers)
        for headers in bad:
            self.assertFalse(self.admits("GET", headers), headers)

    def test_changing_something_needs_the_header_that_other_sites_cannot_send(self):
        origin = {"origin": "https://chat.example.org", "sec_fetch_site": "same-origin"}
        for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND", "post"):
            self.assertFalse(self.admits(method, origin), method)
            self.assertTrue(self.admits(method, {**origin, "x_requested_with": "chat"}), method)
            evil = {"x_requested_with": "chat", "origin": "https://evil.example"}
            self.assertFalse(self.admits(method, evil), method)

    def test_behind_a_proxy_that_ends_tls_the_origin_may_say_https(self):
        self.assertTrue(self.admits("GET", {"origin": "https://chat.example.org"}, secure=False))

    def test_without_a_host_nobody_is_at_home(self):
        self.assertTrue(refusal_of("GET", {"origin": "https://"}, secure=False))


class SessionTest(TestCase):
    def setUp(self):
        clear_cache()
        self.addCleanup(clear_cache)
        self.alice = register_user(username="alice", password="a long enough phrase")
        self.browser = Client()
        self.browser.force_login(self.alice)

    def caller(self, *, method: str = "GET", **headers: str) -> Caller:
        cookie = f"{settings.SESSION_COOKIE_NAME}={self.browser.cookies[settings.SESSION_COOKIE_NAME].value}"
        return Caller(headers={**HOME, **OUR_PAGE, "cookie": cookie, **headers}, peer="127.0.0.1", method=method)

    def assert_refused(self, caller: Caller) -> str:
        with self.assertRaises(NotAdmitted) as refused:
            resolve_principal(caller)
        return refused.exception.message

    def test_a_session_makes_you_its_user(self):
        who = resolve_principal(self.caller(), allow_guest=False)
        self.assertEqual((who.user_id, who.username, who.key_id, who.is_guest), (self.alice.pk, "alice", None, False))
        self.assertNotIn(who.session, repr(who))

    @override_settings(KEY_CACHE_SECONDS=60)
    def test_it_is_known_without_the_database_for_a_moment_and_the_rule_holds_all_the_same(self):
        who = resolve_principal(self.caller())
        with self.assertNumQueries(0):
            self.assertEqual(known_principal(self.caller()), who)
            with self.assertRaises(NotAdmitted):
                known_principal(self.caller(origin="https://evil.example"))

    def test_a_key_goes_before_a_session(self):
        bob = register_user(username="bob")
        _, text = issue_api_key(user=bob)
        self.assertEqual(resolve_principal(self.caller(authorization=f"Bearer {text}")).username, "bob")
        self.assert_refused(self.caller(authorization="Bearer cb_wrong"))

    @override_settings(ANONYMOUS="on")
    def test_a_session_that_is_wrong_or_over_is_no_guest(self):
        for cookie in ("=", f"={uuid.uuid4().hex}", "=" + "x" * 5_000, "=../../x", "=\x00", '="'):
            caller = self.caller(cookie=f"a=b; {settings.SESSION_COOKIE_NAME}{cookie}")
            self.assertIn("Sign in", self.assert_refused(caller))

    @override_settings(ANONYMOUS="on")
    def test_other_cookies_are_nobodys_business(self):
        for cookie in ("theme=dark", "sessionid=x; csrftoken=y", f"not_{settings.SESSION_COOKIE_NAME}=x", ""):
            self.assertTrue(resolve_principal(self.caller(cookie=cookie)).is_guest, cookie)

    def test_a_session_that_expired_is_refused(self):
        Session.objects.update(expire_date=timezone.now() - dt.timedelta(seconds=1))
        self.assert_refused(self.caller())

    def test_a_session_without_a_user_is_refused(self):
        session = self.browser.session
        session.clear()
        session.save()
        self.assert_refused(self.caller())

    def test_a_new_password_ends_the_sessions_of_the_old_one(self):
        update_user(user=self.alice, password="another long enough phrase")
        self.assert_refused(self.caller())

    def test_a_disabled_account_has_no_sessions(self):
        self.alice.is_active = False
        self.alice.save()
        self.assert_refused(self.caller())

    @override_settings(KEY_CACHE_SECONDS=60)
    def test_signing_out_ends_it_at_once(self):
        caller = self.caller()
        resolve_principal(caller)
        self.assertEqual(self.browser.post("/logout", headers={"X-Requested-With": "chat"}).status_code, 204)
        self.assertIsNone(known_principal(caller))
        self.assert_refused(caller)

    def test_another_sites_page_signs_nobody_out(self):
        for headers in ({}, {"Origin": "https://evil.example", "X-Requested-With": "chat"}):
            self.assertEqual(self.browser.post("/logout", headers=headers).status_code, 403)
        self.assertEqual(self.browser.get("/logout").status_code, 405)
        resolve_principal(self.caller())

    def test_open_sockets_learn_of_it(self):
        _, text = issue_api_key(user=self.alice)
        by_key, by_session = principal_of_key(text), resolve_principal(self.caller())
        self.assertEqual(find_refused([by_key, by_session]), {})
        self.browser.logout()
        self.assertEqual(find_refused([by_key, by_session]), {by_session: SIGNED_OUT})


class SignInTest(TestCase):
    def setUp(self):
        self.alice = register_user(username="alice", password="a long enough phrase")

    def attempt(self, username: str = "alice", password: str = "wrong", where: str = "/login"):
        return Client().post(where, {"username": username, "password": password})

    def test_the_form_needs_its_token(self):
        client = Client(enforce_csrf_checks=True)
        given = {"username": "alice", "password": "a long enough phrase"}
        self.assertEqual(client.post("/login", given).status_code, 403)

    @override_settings(LIMIT_AUTH_FAILURES_PER_MINUTE=3)
    def test_one_address_may_try_so_often_a_minute_and_then_not_even_with_the_right_password(self):
        wait_for_minute()
        allowed = [self.attempt(where=where).status_code for where in ("/login", "/admin/login/", "/login")]
        refused = self.attempt(password="a long enough phrase")
        staff = self.attempt(where="/admin/login/")
        self.assertEqual(allowed, [200, 200, 200])
        self.assertEqual(refused.status_code, 429)
        self.assertGreater(int(refused.headers["Retry-After"]), 0)
        self.assertNotIn(settings.SESSION_COOKIE_NAME, refused.cookies)
        self.assertContains(staff, "Too many attempts", status_code=429)
        self.assertGreater(int(staff.headers["Retry-After"]), 0)

    def test_who_exists_is_not_told(self):
        disabled = register_user(username="disabled", password="a long enough phrase")
        disabled.is_active = False
        disabled.save()
        told = {
            self.attempt(name, password).content.decode().replace(name, "NAME").partition('role="alert"')[2]
            for name, password in (
                ("alice", "wrong"),
                ("nobody", "wrong"),
                ("disabled", "a long enough phrase"),
                ("alice", "x" * 5_000),
            )
        }
        self.assertEqual(len(told), 1)

    def test_it_leads_nowhere_else(self):
        given = {"username": "alice", "password": "a long enough phrase", "next": "https://evil.example/"}
        self.assertEqual(Client().post("/login", given).headers["Location"], "/")
