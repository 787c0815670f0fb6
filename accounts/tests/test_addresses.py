"""Which address a caller's requests count towards, and how often one address may guess."""

from __future__ import annotations

import uuid
from dataclasses import replace

from django.test import SimpleTestCase, TestCase, override_settings

from accounts import keys
from accounts.addresses import UNKNOWN, address_key, shortened_address
from accounts.callers import Caller, NotAdmitted, Principal, TooManyFailures
from accounts.principal import clear_cache, principal_of_key
from accounts.services import issue_api_key, register_user
from chatservice.testing import wait_for_minute


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


class CountedAddressTest(SimpleTestCase):
    def test_ipv4_is_counted_as_it_is_and_ipv6_by_its_64(self):
        for text, counted in (
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1:51234 ", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::FFFF:c000:201]:443", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:0DB8:1:2::1", "2001:db8:1:2::/64"),
            ("[2001:db8:1:2::1]:443", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("::1", "::/64"),
        ):
            self.assertEqual(address_key(text), counted, text)

    def test_what_is_no_address_is_one_caller(self):
        for text in (
            "",
            "unknown",
            "_hidden",
            "1.2.3",
            "1.2.3.4.5",
            "[",
            "[]",
            "%",
            "::1::",
            "x" * 9_999,
            "\x00",
            "²",
        ):
            self.assertEqual((address_key(text), shortened_address(text)), (UNKNOWN, UNKNOWN), text[:20])

    def test_shown_to_others_it_is_a_network(self):
        for text, network in (
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ):
            self.assertEqual(shortened_address(text), network)

    def test_guests_are_counted_by_address_and_whoever_is_known_as_that_user(self):
        user_id = uuid.uuid4()
        for address in ("2001:db8::1", "2001:db8::2"):
            guest = Principal(user_id, "guest", is_guest=True, address=address)
            self.assertEqual(guest.limit_key, "2001:db8::/64")
            for known in (Principal(user_id, "alice", key_id=user_id), Principal(user_id, "alice", session="s")):
                self.assertEqual(replace(known, address=address).limit_key, user_id.hex)


@override_settings(LIMIT_AUTH_FAILURES_PER_MINUTE=3)
class GuessingTest(TestCase):
    def setUp(self):
        clear_cache()
        self.addCleanup(clear_cache)
        # All guesses of one test must fall into the same minute.
        wait_for_minute()

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

    def test_a_customer_has_more_ipv6_addresses_than_anybody_can_count(self):
        told = [self.guess(f"2001:db8::{number}") for number in range(4)]
        self.assertEqual(told, [NotAdmitted] * 3 + [TooManyFailures])

    def test_the_right_key_still_works_from_an_address_that_guessed(self):
        _, text = issue_api_key(user=register_user(username="alice"))
        for _ in range(5):
            self.guess("7.7.7.7")
        self.assertEqual(principal_of_key(text, "7.7.7.7").username, "alice")
