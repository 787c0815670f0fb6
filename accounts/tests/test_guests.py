"""Which requests may come without a key: the truth table of ANONYMOUS."""

from __future__ import annotations

from django.test import SimpleTestCase, TestCase, override_settings

from accounts.callers import Caller, NotAdmitted
from accounts.models import User
from accounts.principal import clear_cache, guest_principal, guests_admitted, principal_of_key, resolve_principal
from accounts.services import deactivate_users, guest_user, issue_api_key, register_user
from chatservice.testing import OwnConnection

HOME = {"host": "localhost:8000"}


def caller(peer: str = "127.0.0.1", **headers: str) -> Caller:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Caller(headers={**HOME, **named}, peer=peer, connection=OwnConnection())


@override_settings(ANONYMOUS="auto")
class AutoTest(SimpleTestCase):
    def assert_admitted(self, who: Caller) -> None:
        self.assertTrue(guests_admitted(who), who)

    def assert_refused(self, who: Caller) -> None:
        self.assertFalse(guests_admitted(who), who)

    def test_a_caller_on_this_machine_is_admitted(self):
        for peer in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
            for host in ("localhost", "localhost:3001", "127.0.0.1:5000", "[::1]:8000"):
                self.assert_admitted(caller(peer, host=host))

    def test_a_caller_from_elsewhere_is_refused(self):
        for peer in ("10.0.0.1", "192.168.1.5", "8.8.8.8", "fe80::1", "::ffff:10.0.0.1", "", "localhost", "unix:"):
            self.assert_refused(caller(peer))

    def test_a_host_name_that_is_not_local_is_refused(self):
        hosts = ("chat.example.org", "localhost.evil.example", "127.0.0.1.evil.example", "", "10.0.0.1", "evil@x", "[")
        for host in hosts:
            self.assert_refused(caller(host=host))
        self.assert_refused(Caller(headers={}, peer="127.0.0.1", connection=OwnConnection()))

    def test_whoever_came_through_a_proxy_is_refused(self):
        for name in (
            *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port"),
            *("x-forwarded-prefix", "x-forwarded-server", "x-real-ip"),
        ):
            self.assert_refused(caller(**{name: "127.0.0.1"}))
            self.assert_refused(caller(**{name: ""}))

    def test_whose_connection_nobody_knows_is_refused(self):
        self.assert_refused(Caller(headers=HOME, peer="127.0.0.1"))

    def test_another_users_process_is_refused(self):
        class Foreign(OwnConnection):
            def is_from_own_user(self) -> bool:
                return False

        self.assert_refused(Caller(headers=HOME, peer="127.0.0.1", connection=Foreign()))

    def test_a_page_of_another_origin_is_refused(self):
        for origin in (
            *("https://evil.example", "null", "", "http://localhost:9999", "http://localhost"),
            *("http://127.0.0.1:8000", "http://localhost:8000.evil.example", "http://[", "http://[::1"),
        ):
            self.assert_refused(caller(origin=origin))

    def test_a_page_of_this_origin_is_admitted(self):
        self.assert_admitted(caller(origin="http://localhost:8000"))
        self.assert_admitted(caller(sec_fetch_site="same-origin", origin="http://localhost:8000"))

    def test_the_browsers_own_word_counts(self):
        for site in ("cross-site", "same-site", "bogus", ""):
            self.assert_refused(caller(sec_fetch_site=site))
        for site in ("none", "same-origin"):
            self.assert_admitted(caller(sec_fetch_site=site))


class SettingTest(SimpleTestCase):
    @override_settings(ANONYMOUS="off")
    def test_off_admits_nobody(self):
        self.assertFalse(guests_admitted(caller()))

    @override_settings(ANONYMOUS="on")
    def test_on_admits_everybody(self):
        self.assertTrue(guests_admitted(caller("8.8.8.8", host="chat.example.org", via="1.1 x")))

    @override_settings(ANONYMOUS="nonsense")
    def test_an_unknown_value_admits_nobody(self):
        self.assertFalse(guests_admitted(caller()))


class GuestAccountTest(TestCase):
    def setUp(self):
        clear_cache()
        self.addCleanup(clear_cache)

    def test_all_guests_share_one_account(self):
        first, second = guest_principal(caller()), guest_principal(caller("::1", host="[::1]"))
        self.assertTrue(first.is_guest)
        self.assertEqual(first.user_id, second.user_id)
        self.assertTrue(User.objects.get(pk=first.user_id).guest_made)

    def test_somebody_really_called_guest_is_not_the_guest(self):
        real = User.objects.create(username="guest")
        self.assertNotEqual(guest_user().pk, real.pk)
        self.assertTrue(guest_user().guest_made)

    @override_settings(ANONYMOUS="off")
    def test_the_refusal_names_the_setting(self):
        with self.assertRaisesMessage(NotAdmitted, "ANONYMOUS"):
            resolve_principal(caller())

    def test_a_surface_that_needs_a_key_admits_no_guest(self):
        with self.assertRaises(NotAdmitted):
            resolve_principal(caller(), allow_guest=False)

    def test_who_deactivates_the_guests_account_sends_guests_and_their_accounts_away(self):
        made = register_user(username="made", guest_made=True, created_by=guest_user())
        _, text = issue_api_key(user=made)
        guest_principal(caller())
        with self.captureOnCommitCallbacks(execute=True):
            deactivate_users(users=[guest_user()])
        with self.assertRaises(NotAdmitted):
            guest_principal(caller())
        with self.assertRaises(NotAdmitted):
            principal_of_key(text)
