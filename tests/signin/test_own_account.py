"""One's own password and browsers: who sees them, and what ends with them."""

from __future__ import annotations

import datetime as dt
from typing import Any
from unittest import mock

from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client, SimpleTestCase, TestCase, override_settings
from django.utils import timezone

from accounts.browsers import UNKNOWN, browser_name
from accounts.callers import Caller
from accounts.models import BrowserSession, User
from accounts.principal import clear_cache, known_principal, resolve_principal
from accounts.services import MAX_PASSWORD, delete_user, register_user
from accounts.session_uses import _noted, prune_sessions
from accounts.sessions import users_of_sessions
from accounts.tests.test_password_attempts import OTHERS, at
from chatservice.testing import tried_once
from tests.signin.provider import HASHERS

OLD, NEW = "a long enough phrase", "another long enough phrase"
PASSWORD, BROWSERS = "/login/password", "/login/browsers"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)


@tried_once
class NameTest(SimpleTestCase):
    def test_a_browser_is_named_and_nothing_of_what_it_sent_is_repeated(self):
        chrome = (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143 Safari/537.36"
        )
        for sent, name in (
            (FIREFOX, "Firefox on Linux"),
            (SAFARI, "Safari on iPhone"),
            (chrome, "Chrome on Windows"),
            (f"{chrome} Edg/143", "Edge on Windows"),
            ("<script>alert(1)</script>", UNKNOWN),
            ("", UNKNOWN),
            ("Firefox/" * 5_000, "Firefox"),
        ):
            self.assertEqual(browser_name(sent), name)


@override_settings(PASSWORD_HASHERS=HASHERS, KEY_CACHE_SECONDS=60)
class OwnCase(TestCase):
    def setUp(self) -> None:
        clear_cache()
        self.addCleanup(clear_cache)
        self.addCleanup(_noted.clear)
        self.alice = register_user(username="alice", password=OLD)
        self.bob = register_user(username="bob", password=OLD)
        self.mine = self.sign_in(self.alice, FIREFOX, "192.0.2.7")
        self.phone = self.sign_in(self.alice, SAFARI, "2001:db8:1:2::3")
        self.bobs = self.sign_in(self.bob, FIREFOX, "198.51.100.1")

    def sign_in(self, user: User, agent: str, address: str) -> Client:
        client = Client(REMOTE_ADDR=address, headers={"user-agent": agent})
        sent = client.post("/login", {"username": user.username, "password": OLD})
        self.assertEqual(sent.status_code, 302)
        return client

    def key(self, browser: Client) -> str:
        return browser.cookies[settings.SESSION_COOKIE_NAME].value

    def caller(self, browser: Client, address: str = "192.0.2.7") -> Caller:
        cookie = f"{settings.SESSION_COOKIE_NAME}={self.key(browser)}"
        return Caller(headers={"host": "testserver", "x-requested-with": "chat", "cookie": cookie}, peer=address)

    def counts(self, browser: Client) -> bool:
        return bool(users_of_sessions([self.key(browser)]))

    def row(self, browser: Client) -> BrowserSession:
        return BrowserSession.objects.get(session=self.key(browser))


@tried_once
class BrowsersTest(OwnCase):
    def sign_out(self, browser: Client, wanted: object) -> Any:
        with self.captureOnCommitCallbacks(execute=True):
            return browser.post(BROWSERS, {"browser": wanted})

    def test_one_sees_ones_own_with_no_address_and_no_name_of_a_session(self):
        shown = self.mine.get(BROWSERS)
        self.assertContains(shown, "Firefox on Linux</strong> · this one")
        self.assertContains(shown, "Safari on iPhone")
        for told in ("192.0.2.0/24", "2001:db8:1::/48"):
            self.assertContains(shown, told)
        for hidden in (
            "192.0.2.7",
            "2001:db8:1:2",
            "198.51.100",
            "iPhone OS",
            self.key(self.mine),
            self.key(self.phone),
        ):
            self.assertNotContains(shown, hidden)
        self.assertEqual(shown.headers["Cache-Control"], "no-store")
        self.assertIn("default-src 'none'", shown.headers["Content-Security-Policy"])

    def test_one_is_signed_out_at_once_and_the_others_stay(self):
        for browser in (self.mine, self.phone):
            resolve_principal(self.caller(browser))
        self.sign_out(self.mine, self.row(self.phone).pk)
        self.assertIsNone(known_principal(self.caller(self.phone)))
        self.assertEqual([self.counts(each) for each in (self.mine, self.phone, self.bobs)], [True, False, True])
        self.assertRedirects(self.phone.get(BROWSERS), f"/login?next={BROWSERS.replace('/', '%2F')}")
        self.assertFalse(BrowserSession.objects.filter(session=self.key(self.phone)).exists())
        self.assertNotContains(self.mine.get(BROWSERS), "Safari")

    def test_nobody_signs_somebody_else_out(self):
        row = self.row(self.bobs)
        own = self.row(self.mine).pk
        for wanted in (row.pk, row.session_id, f"{row.pk} ", own, "-1", "9" * 18, "9" * 5_000, "٣", ""):
            self.assertRedirects(self.sign_out(self.mine, wanted), BROWSERS)
        self.assertEqual([self.counts(each) for each in (self.mine, self.phone, self.bobs)], [True] * 3)
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = self.mine.cookies
        self.assertEqual(strict.post(BROWSERS, {"browser": "others"}).status_code, 403)
        self.assertTrue(self.counts(self.phone))

    def test_all_others_are_signed_out_also_those_that_are_not_listed(self):
        self.row(self.phone).delete()
        self.assertNotContains(self.mine.get(BROWSERS), "Safari")
        self.sign_out(self.mine, "others")
        self.assertEqual([self.counts(each) for each in (self.mine, self.phone, self.bobs)], [True, False, True])

    def test_a_session_from_before_is_listed_once_it_is_used(self):
        BrowserSession.objects.all().delete()
        caller = self.caller(self.phone)
        resolve_principal(caller)
        self.assertContains(self.mine.get(BROWSERS), "Unknown browser")
        with self.assertNumQueries(0):
            resolve_principal(caller)

    def test_the_day_and_the_network_are_those_of_the_last_use(self):
        BrowserSession.objects.update(last_used_on=dt.date(2026, 1, 1))
        resolve_principal(self.caller(self.mine))
        resolve_principal(self.caller(self.mine, "203.0.113.9"))
        row = self.row(self.mine)
        self.assertEqual((row.network, row.last_used_on), ("203.0.113.0/24", timezone.now().date()))
        self.assertEqual(row.browser, "Firefox on Linux")

    def test_what_is_over_is_not_listed_and_is_deleted(self):
        Session.objects.filter(pk=self.key(self.phone)).update(expire_date=timezone.now() - dt.timedelta(seconds=1))
        # As the version before does it, which does not know of these rows.
        Session.objects.filter(pk=self.key(self.bobs))._raw_delete("default")
        self.assertNotContains(self.mine.get(BROWSERS), "Safari")
        prune_sessions()
        self.assertEqual(list(BrowserSession.objects.all()), [self.row(self.mine)])
        self.assertEqual(Session.objects.count(), 1)

    def test_signing_out_and_erasing_take_the_row_along(self):
        self.phone.post("/logout", headers={"X-Requested-With": "chat"})
        self.assertEqual(self.alice.browser_sessions.count(), 1)
        delete_user(user=self.alice)
        self.assertEqual(list(BrowserSession.objects.all()), [self.row(self.bobs)])


@tried_once
class PasswordTest(OwnCase):
    def change(self, browser: Client, old: str = OLD, new: str = NEW, again: str | None = None) -> Any:
        given = {"old_password": old, "new_password1": new, "new_password2": new if again is None else again}
        with self.captureOnCommitCallbacks(execute=True):
            return browser.post(PASSWORD, given)

    def password(self) -> str:
        self.alice.refresh_from_db()
        return next(each for each in (OLD, NEW) if self.alice.check_password(each))

    def test_it_is_changed_this_browser_stays_and_the_others_are_signed_out(self):
        since = self.row(self.mine).signed_in_at
        resolve_principal(self.caller(self.phone))
        former = self.key(self.mine)
        self.assertRedirects(self.change(self.mine), BROWSERS)
        self.assertEqual(self.password(), NEW)
        self.assertIsNone(known_principal(self.caller(self.phone)))
        self.assertEqual([self.counts(each) for each in (self.mine, self.phone, self.bobs)], [True, False, True])
        self.assertNotEqual(self.key(self.mine), former)
        self.assertEqual(self.row(self.mine).signed_in_at, since)
        self.assertFalse(Session.objects.filter(pk__in=[former, self.key(self.phone)]).exists())

    def test_refusals_say_why_and_change_nothing(self):
        for given, told in (
            ({"old": "wrong"}, "entered incorrectly"),
            ({"new": "short"}, "too short"),
            ({"new": "password1234"}, "too common"),
            ({"again": "something else"}, "match"),
            ({"new": "x" * (MAX_PASSWORD + 1)}, "at most 4096"),
            ({"old": ""}, "required"),
        ):
            shown = self.change(self.mine, **given)
            self.assertContains(shown, told)
            self.assertNotContains(shown, OLD)
            self.assertEqual((self.password(), self.counts(self.phone)), (OLD, True))

    @OTHERS
    def test_guessing_the_current_one_has_to_wait(self):
        with at(1_000.0):
            for _ in range(5):
                self.assertEqual(self.change(self.mine, "wrong").status_code, 200)
            refused = self.change(self.mine)
            self.assertContains(refused, "LIMIT_PASSWORD_FAILURES", status_code=429)
            self.assertTrue(1 <= int(refused.headers["Retry-After"]) <= 30)
        self.assertEqual(self.password(), OLD)
        with at(1_001.0):
            self.assertEqual(self.change(self.mine).status_code, 302)

    def test_a_form_of_somebody_elses_page_is_refused(self):
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = self.mine.cookies
        self.assertEqual(self.change(strict).status_code, 403)
        self.assertEqual(self.password(), OLD)

    def test_who_has_none_or_is_not_signed_in_gets_no_form(self):
        with override_settings(PASSWORD_SIGN_IN=False):
            self.assertEqual(self.change(self.mine).status_code, 404)
            self.assertNotContains(self.mine.get(BROWSERS), PASSWORD)
            self.assertNotContains(self.mine.get("/profile"), PASSWORD)
        self.assertEqual(self.change(Client()).status_code, 302)
        self.assertEqual(self.password(), OLD)
        self.alice.set_unusable_password()
        self.alice.save()
        keyed = Client()
        keyed.force_login(self.alice)
        self.assertEqual(keyed.get(PASSWORD).status_code, 404)
        self.assertNotContains(keyed.get(BROWSERS), PASSWORD)


@tried_once
@override_settings(ROOT_URLCONF="tests.signin.urls", STAFF_SECOND_FACTOR="required")
class HeldTest(OwnCase):
    def test_without_a_second_factor_a_session_counts_for_nothing_here(self):
        self.alice.is_staff = True
        self.alice.save()
        held = self.sign_in(self.alice, FIREFOX, "192.0.2.7")
        for browser in (held, self.mine):  # one from before it was required, too
            for page in (PASSWORD, BROWSERS):
                self.assertIn("/login/second-factor", browser.get(page).headers["Location"])
        held.post(BROWSERS, {"browser": "others"})
        self.assertTrue(self.counts(self.phone))
        with mock.patch.object(settings, "STAFF_SECOND_FACTOR", "off"):
            self.assertIn("/login?next", held.get(BROWSERS).headers["Location"])
