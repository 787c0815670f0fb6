"""Guessing a password gets slower with each failure, on every surface, and never locks the owner out."""

from __future__ import annotations

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from django.core import signing
from django.db import connections
from django.test import Client, SimpleTestCase, TestCase, override_settings

from accounts import password_attempts
from accounts.models import FailedSignIn, PasswordDelay, User
from accounts.password_attempts import (
    COOKIE,
    MAX_ACCOUNTS,
    SIGNED_IN,
    TooManyAttempts,
    account_hash,
    cookie_for,
    device_in,
    forget_delays,
    password_attempt,
)
from accounts.services import delete_user, register_user
from chatservice.testing import KeptTablesTestCase, wait_for_minute

PASSWORD = "a long enough phrase"
ADDRESS = "192.0.2.1"
OTHERS = override_settings(LIMIT_AUTH_FAILURES_PER_MINUTE=0)
"""So that the limit per address is not reached."""


@contextmanager
def at(seconds: float) -> Any:
    """Make the database's clock return `seconds`."""
    with mock.patch.object(password_attempts, "database_clock", return_value=str(seconds)):
        yield


class Wrong(Exception):
    pass


def fail(name: str, device: str = "", address: str = ADDRESS) -> int:
    """Try a wrong password; return the seconds to wait, or 0 if the password was checked."""
    try:
        with password_attempt(name, address, device=device):
            raise Wrong
    except Wrong:
        return 0
    except TooManyAttempts as refusal:
        return refusal.retry_after


@OTHERS
class DelayTest(TestCase):
    def test_after_five_wrong_ones_the_wait_doubles_to_thirty_seconds_and_no_further(self):
        now, waits = 1_000.0, []
        for _ in range(13):
            with at(now):
                self.assertEqual(fail("alice"), 0)
                waits.append(fail("alice") if PasswordDelay.objects.get().until > now else 0)
            now = PasswordDelay.objects.get().until
        # The first four failures cause no delay.
        self.assertEqual(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30, 30])

    def test_what_is_refused_makes_the_wait_no_longer(self):
        with at(1_000.0):
            for _ in range(5):
                fail("alice")
            self.assertEqual([fail("alice") for _ in range(20)], [1] * 20)
        with at(1_001.0):
            self.assertEqual(fail("alice"), 0)

    def test_a_name_that_nobody_has_waits_as_long(self):
        register_user(username="alice", password=PASSWORD)
        with at(1_000.0):
            told = [[fail(name) for _ in range(8)] for name in ("alice", "nobody")]
        self.assertEqual(told[0], told[1])

    def test_no_name_is_stored(self):
        fail("what-is-typed-here-may-be-a-password")
        row = PasswordDelay.objects.values().get()
        self.assertRegex(row["account"], r"\A[0-9a-f]{64}\Z")
        self.assertFalse(FailedSignIn.objects.exists())

    def test_the_same_name_in_another_form_of_unicode_is_the_same_account(self):
        fail("ﬁona")
        fail("fiona")
        self.assertEqual(PasswordDelay.objects.get().failures, 2)

    def test_the_right_password_ends_it(self):
        with at(1_000.0):
            for _ in range(4):
                fail("alice")
            with password_attempt("alice", ADDRESS):
                pass
            self.assertFalse(PasswordDelay.objects.exists())
            self.assertEqual([fail("alice") for _ in range(5)], [0] * 5)

    def test_devices_and_whoever_is_signed_in_have_delays_of_their_own(self):
        with at(1_000.0):
            for _ in range(5):
                fail("alice")
            self.assertEqual(fail("alice"), 1)
            for device in ("a" * 32, SIGNED_IN):
                self.assertEqual([fail("alice", device) for _ in range(6)], [0] * 5 + [1])
            self.assertEqual(fail("alice", "b" * 32), 0)
            with password_attempt("alice", ADDRESS, device="b" * 32):
                pass
            self.assertEqual(fail("alice"), 1)

    @override_settings(LIMIT_PASSWORD_FAILURES=1)
    def test_how_many_are_free_is_a_setting(self):
        with at(1_000.0):
            self.assertEqual([fail("alice") for _ in range(2)], [0, 1])
        with at(1_001.0):
            self.assertEqual([fail("alice") for _ in range(2)], [0, 2])

    @override_settings(LIMIT_PASSWORD_FAILURES=0)
    def test_zero_is_no_limit(self):
        with at(1_000.0):
            self.assertEqual([fail("alice") for _ in range(20)], [0] * 20)

    def test_it_is_forgotten_an_hour_later(self):
        with at(1_000.0):
            fail("alice")
        with at(1_000.0 + 3_599):
            self.assertEqual(forget_delays(), 0)
        with at(1_000.0 + 3_601):
            self.assertEqual(forget_delays(), 1)


class AddressTest(TestCase):
    @override_settings(LIMIT_AUTH_FAILURES_PER_MINUTE=3)
    def test_an_address_may_fail_so_often_a_minute_and_right_ones_do_not_count(self):
        wait_for_minute()
        for _ in range(10):
            with password_attempt("alice", "2001:db8::1"):
                pass
        told = [fail(uuid.uuid4().hex, address=f"2001:db8::{number}") for number in range(5)]
        self.assertEqual(told[:3], [0, 0, 0])
        self.assertTrue(all(1 <= wait <= 60 for wait in told[3:]), told)
        self.assertEqual(fail("somebody", address="2001:db8:0:1::1"), 0)
        # Failures of other people at the same address affect neither known browsers nor signed-in users.
        self.assertEqual([fail("alice", device, "2001:db8::1") for device in ("a" * 32, SIGNED_IN)], [0, 0])


class ConcurrentGuessTest(KeptTablesTestCase):
    @OTHERS
    def test_guessing_all_at_once_is_no_way_around_it(self):
        name = f"name-{uuid.uuid4().hex}"

        def guess(_: int) -> int:
            try:
                return fail(name)
            finally:
                connections.close_all()

        with at(1_000.0), ThreadPoolExecutor(20) as threads:
            told = list(threads.map(guess, range(40)))
        self.assertEqual(sorted(told), [0] * 5 + [1] * 35)


class DeviceCookieTest(SimpleTestCase):
    def test_it_is_known_to_the_accounts_that_signed_in_and_to_no_other(self):
        cookie = cookie_for("", "alice")
        both = cookie_for(cookie, "bob")
        self.assertTrue(device_in(cookie, "alice"))
        self.assertEqual(device_in(cookie, "bob"), "")
        self.assertEqual(device_in(both, "alice"), device_in(cookie, "alice"))
        self.assertTrue(device_in(both, "bob"))

    def test_each_sign_in_makes_it_another(self):
        cookie = cookie_for("", "alice")
        again = cookie_for(cookie, "alice")
        self.assertNotEqual(device_in(cookie, "alice"), device_in(again, "alice"))

    def test_the_last_few_accounts_are_kept(self):
        cookie = ""
        for number in range(MAX_ACCOUNTS + 2):
            cookie = cookie_for(cookie, f"user{number}")
        known = [number for number in range(MAX_ACCOUNTS + 2) if device_in(cookie, f"user{number}")]
        self.assertEqual(known, list(range(2, MAX_ACCOUNTS + 2)))
        self.assertLess(len(cookie), 1_000)

    def test_nobody_else_can_make_one_and_it_names_nobody(self):
        cookie = cookie_for("", "alice")
        for forged in ("", "x", cookie[:-1], f"x{cookie}", signing.dumps([["alice", "x"]]), "\x00", "é" * 5_000):
            self.assertEqual(device_in(forged, "alice"), "")
        self.assertNotIn("alice", cookie)


class SignInTest(TestCase):
    """The sign-in forms of the page and of the admin."""

    def setUp(self):
        self.alice = register_user(username="alice", password=PASSWORD, staff=True)

    def attempt(
        self, password: str = "wrong", name: str = "alice", *, where: str = "/login", client: Client | None = None
    ) -> Any:
        return (client or Client(REMOTE_ADDR=ADDRESS)).post(where, {"username": name, "password": password})

    def assert_must_wait(self, response: Any) -> None:
        self.assertContains(response, "LIMIT_PASSWORD_FAILURES", status_code=429)
        self.assertTrue(1 <= int(response.headers["Retry-After"]) <= 30)

    @OTHERS
    def test_the_wait_holds_for_both_forms_and_the_right_password(self):
        with at(1_000.0):
            for where in ("/login", "/admin/login/", "/login", "/admin/login/", "/login"):
                self.assertEqual(self.attempt(where=where).status_code, 200)
            for where in ("/login", "/admin/login/"):
                self.assert_must_wait(self.attempt(PASSWORD, where=where))
        with at(1_001.0):
            self.assertEqual(self.attempt(PASSWORD).status_code, 302)

    @OTHERS
    def test_the_wait_does_not_tell_who_exists(self):
        with at(1_000.0):
            pages = []
            for name in ("alice", "nobody"):
                for _ in range(5):
                    self.attempt(name=name)
                refused = self.attempt(name=name)
                self.assert_must_wait(refused)
                pages.append(refused.content.decode().replace(name, "NAME").partition('role="alert"')[2])
        self.assertEqual(pages[0], pages[1])

    @override_settings(LIMIT_AUTH_FAILURES_PER_MINUTE=3)
    def test_a_browser_that_signed_in_before_does_not_wait_for_others(self):
        wait_for_minute(15)
        mine, stranger = Client(REMOTE_ADDR=ADDRESS), Client(REMOTE_ADDR=ADDRESS)
        signed_in = self.attempt(PASSWORD, client=mine)
        cookie = signed_in.cookies[COOKIE]
        self.assertEqual((cookie["httponly"], cookie["samesite"], cookie["max-age"]), (True, "Lax", 365 * 86_400))
        mine.logout()
        for _ in range(3):  # these use up the address's limit
            self.assertEqual(self.attempt(client=stranger).status_code, 200)
        self.assertEqual(self.attempt(PASSWORD, client=stranger).status_code, 429)
        mine.cookies[COOKIE] = cookie.value
        self.assertEqual(self.attempt(PASSWORD, client=mine).status_code, 302)

    @OTHERS
    def test_a_known_browser_that_guesses_waits_as_well(self):
        mine = Client()
        with at(1_000.0):
            self.attempt(PASSWORD, client=mine)
            for _ in range(5):
                self.assertEqual(self.attempt(client=mine).status_code, 200)
            self.assert_must_wait(self.attempt(PASSWORD, client=mine))

    @OTHERS
    def test_a_device_cookie_signs_nobody_in(self):
        mine, stranger = Client(), Client()
        self.attempt(PASSWORD, client=mine)
        stranger.cookies[COOKIE] = mine.cookies[COOKIE].value
        self.assertEqual(stranger.get("/admin/").status_code, 302)

    @OTHERS
    def test_the_admins_own_form_for_a_new_password_is_no_place_to_guess(self):
        staff = Client()
        staff.force_login(self.alice)
        new = "another long phrase"
        given = {"old_password": "wrong", "new_password1": new, "new_password2": new}
        with at(1_000.0):
            for _ in range(5):
                self.assertEqual(staff.post("/admin/password_change/", given).status_code, 200)
            self.assert_must_wait(staff.post("/admin/password_change/", {**given, "old_password": PASSWORD}))
            # A signed-in user has a separate delay.
            self.assertEqual(self.attempt(PASSWORD).status_code, 302)
        with at(1_001.0):
            changed = staff.post("/admin/password_change/", {**given, "old_password": PASSWORD})
        self.assertRedirects(changed, "/admin/password_change/done/", fetch_redirect_response=False)


@OTHERS
class OwnerTest(TestCase):
    """The owner sees when, how often, and roughly from where somebody tried."""

    def setUp(self):
        self.alice = register_user(username="alice", password=PASSWORD)

    def shown(self) -> dict[str, int]:
        return dict(self.alice.failed_sign_ins.values_list("network", "attempts"))

    def sign_in(self) -> None:
        Client().force_login(self.alice)

    def test_they_are_shown_until_the_sign_in_after_the_next(self):
        for address in ("192.0.2.1", "192.0.2.200", "2001:db8:1:2::3"):
            fail("alice", address=address)
        found = {"192.0.2.0/24": 2, "2001:db8:1::/48": 1}
        self.assertEqual(self.shown(), found)
        self.sign_in()
        self.assertEqual(self.shown(), found)
        fail("alice", address="198.51.100.7")
        self.assertEqual(self.shown(), {**found, "198.51.100.0/24": 1})
        self.sign_in()
        self.assertEqual(self.shown(), {"198.51.100.0/24": 1})
        self.sign_in()
        self.assertEqual(self.shown(), {})

    def test_the_same_network_before_and_after_a_sign_in_is_told_apart(self):
        fail("alice")
        self.sign_in()
        fail("alice")
        rows = self.alice.failed_sign_ins.order_by("is_reported").values_list("attempts", "is_reported")
        self.assertEqual(list(rows), [(1, False), (1, True)])
        self.sign_in()
        self.assertEqual(list(rows.all()), [(1, True)])

    @override_settings(LIMIT_PASSWORD_FAILURES=0)
    def test_their_number_is_bounded_and_none_is_lost(self):
        for number in range(30):
            fail("alice", address=f"10.0.{number}.1")
        shown = self.shown()
        self.assertEqual((len(shown), shown["elsewhere"], sum(shown.values())), (21, 10, 30))

    def test_others_are_told_nothing(self):
        bob = register_user(username="bob")
        fail("alice")
        self.assertFalse(bob.failed_sign_ins.exists())

    def test_what_was_not_looked_at_is_not_counted(self):
        with at(1_000.0):
            for _ in range(9):
                fail("alice")
        self.assertEqual(sum(self.shown().values()), 5)


class ErasureTest(KeptTablesTestCase):
    @OTHERS
    def test_nothing_of_it_outlives_the_account(self):
        alice, bob = (register_user(username=f"{name}-{uuid.uuid4().hex}") for name in ("alice", "bob"))
        for device in ("", SIGNED_IN, "a" * 32):
            fail(alice.username, device)
            fail(bob.username, device)
        delete_user(user=User.objects.get(pk=alice.pk))
        left = [PasswordDelay.objects.filter(account=account_hash(user.username)).count() for user in (alice, bob)]
        self.assertEqual(left, [0, 3])
        self.assertEqual(FailedSignIn.objects.filter(user_id=alice.pk).count(), 0)


class EverywhereTest(SimpleTestCase):
    def test_no_password_is_checked_without_asking_here_first(self):
        """Our code calls Django's password checks only inside `password_attempt`, except through Django's own forms."""
        checks = re.compile(r"\ba?check_password\(|\ba?authenticate\((?:self\.)?request")
        found = set()
        for package in ("accounts", "conversations", "completions", "search", "chatservice"):
            for path in Path(package).rglob("*.py"):
                text = path.read_text(encoding="utf-8")
                if "tests" not in path.parts and checks.search(text):
                    found.add(path.as_posix())
                    self.assertIn("with password_attempt(", text, path)
        self.assertEqual(found, {"accounts/credential_changes.py"})
