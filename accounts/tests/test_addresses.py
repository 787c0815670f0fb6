"""Which address a caller is counted under, and how often it may guess."""

from __future__ import annotations

from django.test import SimpleTestCase, TestCase, override_settings

from accounts import keys, throttling
from accounts.principal import Caller, NotAdmitted, TooManyFailures, clear_cache, principal_of_key
from accounts.services import issue_api_key, register_user
from chatservice.testing import wait_until


def address(forwarded: str | None, peer: str = "10.0.0.9") -> str:
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    return Caller(headers=headers, peer=peer).address


class AddressTest(SimpleTestCase):
    @override_settings(TRUSTED_PROXIES=0)
    def test_without_a_proxy_nothing_but_the_socket_is_believed(self):
        for forwarded in (None, "1.1.1.1", "1.1.1.1, 2.2.2.2", ""):
            self.assertEqual(address(forwarded), "10.0.0.9")

    @override_settings(TRUSTED_PROXIES=1)
    def test_one_proxy_is_believed_for_the_right_most_hop_only(self):
        self.assertEqual(address("6.6.6.6, 2.2.2.2"), "2.2.2.2")
        self.assertEqual(address("2.2.2.2"), "2.2.2.2")

    @override_settings(TRUSTED_PROXIES=2)
    def test_two_proxies_are_believed_for_the_second_hop_from_the_right(self):
        self.assertEqual(address("6.6.6.6, 2.2.2.2, 10.0.0.1"), "2.2.2.2")
        self.assertEqual(address("spoofed, 6.6.6.6, 2.2.2.2, 10.0.0.1"), "2.2.2.2")

    @override_settings(TRUSTED_PROXIES=2)
    def test_fewer_hops_than_proxies_is_the_socket(self):
        self.assertEqual(address("2.2.2.2"), "10.0.0.9")
        self.assertEqual(address(None), "10.0.0.9")


@override_settings(LIMIT_AUTH_FAILURES_PER_MINUTE=3)
class GuessingTest(TestCase):
    def setUp(self):
        clear_cache()
        self.addCleanup(clear_cache)
        # All guesses of a test belong to one minute.
        wait_until(lambda: throttling.seconds_left() > 3, what="a minute with time left")

    def guess(self, peer: str) -> type[NotAdmitted]:
        with self.assertRaises(NotAdmitted) as caught:
            principal_of_key(keys.generate()[1], peer)
        if isinstance(caught.exception, TooManyFailures):
            self.assertTrue(1 <= (caught.exception.retry_after or 0) <= 60)
        return type(caught.exception)

    def test_guesses_are_limited_exactly(self):
        told = [self.guess("7.7.7.7") for _ in range(5)]
        self.assertEqual(told, [NotAdmitted] * 3 + [TooManyFailures] * 2)

    def test_another_address_is_counted_by_itself(self):
        for _ in range(4):
            self.guess("7.7.7.7")
        self.assertIs(self.guess("8.8.8.8"), NotAdmitted)

    def test_the_right_key_still_works_from_an_address_that_guessed(self):
        _, text = issue_api_key(user=register_user(username="alice"))
        for _ in range(5):
            self.guess("7.7.7.7")
        self.assertEqual(principal_of_key(text, "7.7.7.7").username, "alice")
