"""What a key may do and from where; how it is rotated; and what is recorded about its use."""

from __future__ import annotations

import datetime as dt
from io import StringIO
from unittest import mock

from django.core.management import CommandError, call_command
from django.test import SimpleTestCase, TestCase, override_settings
from django.utils import timezone

from accounts import key_uses
from accounts.addresses import is_within, read_network
from accounts.callers import NotAdmitted, Principal, WrongNetwork
from accounts.credential_changes import CredentialsRefused
from accounts.key_uses import ELSEWHERE, KEPT_DAYS, MAX_NETWORKS, prune_key_uses
from accounts.models import ApiKey, ApiKeyUse
from accounts.own_keys import TooManyKeys, issue_own_key, revoke_own_key, rotate_own_key
from accounts.principal import cached_principal, clear_cache, principal_of_key
from accounts.rotation import NotRotatable, rotate_api_key
from accounts.scopes import Scope, ScopeMissing, require_scope
from accounts.services import issue_api_key, register_user

HERE = "192.0.2.7"


class KeyCase(TestCase):
    def setUp(self) -> None:
        for forget in (clear_cache, key_uses._noted.clear):
            forget()
            self.addCleanup(forget)
        self.alice = register_user(username="alice")
        self.bob = register_user(username="bob")

    def using(self, text: str, address: str = HERE) -> Principal:
        clear_cache()
        return principal_of_key(text, address)

    def signed_in(self) -> Principal:
        return Principal(self.alice.pk, "alice", session="x" * 32, may_change_credentials=True)

    def make(self, who: Principal, **fields: object) -> tuple[ApiKey, str]:
        return issue_own_key(principal=who, name="made", **{"expires_at": None, **fields})  # type: ignore[arg-type]

    def rotate(self, who: Principal, key: ApiKey, hours: int = 24) -> tuple[ApiKey, str]:
        return rotate_own_key(principal=who, key_id=key.pk, overlap_hours=hours)


class ScopesTest(KeyCase):
    def test_a_key_of_before_and_one_that_names_none_have_all_scopes(self) -> None:
        key, text = issue_api_key(user=self.alice)
        self.assertIsNone(key.scopes)
        for scope in Scope:
            require_scope(self.using(text), scope)

    def test_a_key_makes_none_with_more_than_its_own(self) -> None:
        _, text = issue_api_key(user=self.alice, scopes=["account", "read"])
        who = self.using(text)
        self.assertEqual(self.make(who)[0].scopes, ["read", "account"])
        self.assertEqual(self.make(who, scopes=["read"])[0].scopes, ["read"])
        for wanted in (["write"], ["read", "generate"], list(Scope)):
            with self.assertRaisesMessage(ScopeMissing, "Its scopes: read, account."):
                self.make(who, scopes=wanted)
        self.assertEqual(ApiKey.objects.count(), 3)

    def test_one_that_may_change_credentials_makes_none_with_more_either(self) -> None:
        _, text = issue_api_key(user=self.alice, scopes=["account"], may_change_credentials=True)
        with self.assertRaises(ScopeMissing):
            self.make(self.using(text), scopes=["read"])
        self.assertEqual(self.make(self.using(text))[0].scopes, ["account"])

    def test_a_session_makes_keys_with_everything_or_less(self) -> None:
        self.assertIsNone(self.make(self.signed_in())[0].scopes)
        self.assertEqual(self.make(self.signed_in(), scopes=["search", "search"])[0].scopes, ["search"])

    def test_a_scope_that_a_later_version_knows_gives_nothing_here(self) -> None:
        _, text = issue_api_key(user=self.alice, scopes=["later"])
        with self.assertRaisesMessage(ScopeMissing, "Its scopes: none."):
            require_scope(self.using(text), Scope.READ)

    def test_the_command_names_scopes_and_networks(self) -> None:
        call_command(
            "create_api_key", "alice", "--scopes", "write, read", "--networks", "192.0.2.0/24", stdout=StringIO()
        )
        key = ApiKey.objects.get()
        self.assertEqual((key.scopes, key.networks), (["read", "write"], ["192.0.2.0/24"]))
        for wrong in (("--scopes", "everything"), ("--networks", "192.0.2.1/24"), ("--scopes", "")):
            with self.assertRaises(CommandError):
                call_command("create_api_key", "alice", *wrong, stdout=StringIO())


class NetworkTest(SimpleTestCase):
    def test_a_network_is_read_in_its_usual_form(self) -> None:
        for text, wanted in (
            (" 192.0.2.0/24 ", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ):
            self.assertEqual(read_network(text), wanted)
        for text in ("", "192.0.2.7/24", "192.0.2.0/33", "example.org", "::ffff:0:0/90", "192.0.2.0/255.0.0.255", "1"):
            with self.assertRaises(ValueError, msg=text):
                read_network(text)

    def test_an_address_is_within_or_not(self) -> None:
        networks = ["192.0.2.0/24", "2001:db8::/32"]
        for inside in (
            "192.0.2.7",
            "192.0.2.7:4711",
            "::ffff:192.0.2.7",
            "2001:db8::1",
            "[2001:db8::1]:80",
            "2001:db8::1%eth0",
        ):
            self.assertTrue(is_within(inside, networks), inside)
        for outside in ("192.0.3.7", "2001:db9::1", "", "unknown", "192.0.2", "::ffff:192.0.3.1"):
            self.assertFalse(is_within(outside, networks), outside)


class NetworksTest(KeyCase):
    def test_a_key_works_only_from_its_networks(self) -> None:
        key, text = issue_api_key(user=self.alice, networks=["192.0.2.0/24", "2001:db8::/32"])
        for address in (HERE, "2001:db8::5"):
            self.assertEqual(self.using(text, address).key_id, key.pk)
        for address in ("192.0.3.7", "2001:db9::5", ""):
            with self.assertRaises(WrongNetwork):
                self.using(text, address)
        self.assertEqual({use.network for use in key.uses.all()}, {"192.0.2.0/24", "2001:db8::/48"})

    @override_settings(KEY_CACHE_SECONDS=60)
    def test_what_was_admitted_from_one_address_is_not_from_another(self) -> None:
        _, text = issue_api_key(user=self.alice, networks=["192.0.2.0/24"])
        principal_of_key(text, HERE)
        self.assertIsNone(cached_principal(text, "198.51.100.1"))
        with self.assertRaisesMessage(NotAdmitted, "198.51.100.1 is in none of them"):
            principal_of_key(text, "198.51.100.1")

    def test_a_wrong_secret_learns_nothing_of_the_networks(self) -> None:
        from accounts import keys

        key, _ = issue_api_key(user=self.alice, networks=["192.0.2.0/24"])
        body = f"cb_{key.kid}_{'x' * 43}"
        with self.assertRaisesMessage(NotAdmitted, "This key is not valid."):
            self.using(body + keys._checksum(body), "198.51.100.1")

    def test_a_key_makes_none_that_works_elsewhere(self) -> None:
        _, text = issue_api_key(user=self.alice, networks=["192.0.2.0/24"])
        who = self.using(text)
        self.assertEqual(self.make(who)[0].networks, ["192.0.2.0/24"])
        self.assertEqual(self.make(who, networks=["192.0.2.7/32"])[0].networks, ["192.0.2.7/32"])
        for wanted in (["192.0.0.0/16"], ["192.0.2.0/24", "2001:db8::/32"], ["0.0.0.0/0"]):
            with self.assertRaises(CredentialsRefused):
                self.make(who, networks=wanted)


class UsesTest(KeyCase):
    def test_the_days_and_networks_are_recorded_and_no_more(self) -> None:
        key, text = issue_api_key(user=self.alice)
        for address in (HERE, "192.0.2.8", "198.51.100.1", HERE):
            self.using(text, address)
        today = timezone.now().astimezone(dt.UTC).date()
        found = list(key.uses.values_list("day", "network"))
        self.assertEqual(found, [(today, "192.0.2.0/24"), (today, "198.51.100.0/24")])

    def test_it_is_written_once_a_minute_at_most(self) -> None:
        _, text = issue_api_key(user=self.alice)
        self.using(text)
        clear_cache()
        with self.assertNumQueries(1):  # the key itself
            principal_of_key(text, HERE)

    def test_the_next_day_is_another_use(self) -> None:
        key, text = issue_api_key(user=self.alice)
        self.using(text)
        ApiKeyUse.objects.update(day=timezone.now().date() - dt.timedelta(days=1))
        key_uses._noted.clear()  # a minute later
        self.using(text)
        self.assertEqual(key.uses.count(), 2)

    def test_too_many_networks_are_summed_up(self) -> None:
        key, text = issue_api_key(user=self.alice)
        for number in range(MAX_NETWORKS + 5):
            self.using(text, f"10.0.{number}.1")
        networks = set(key.uses.values_list("network", flat=True))
        self.assertEqual(len(networks), MAX_NETWORKS + 1)
        self.assertIn(ELSEWHERE, networks)

    def test_old_uses_are_deleted(self) -> None:
        key, _ = issue_api_key(user=self.alice)
        today = timezone.now().astimezone(dt.UTC).date()
        for days in (0, KEPT_DAYS, KEPT_DAYS + 1, 400):
            ApiKeyUse.objects.create(key=key, day=today - dt.timedelta(days=days), network="192.0.2.0/24")
        self.assertEqual(prune_key_uses(), 2)
        self.assertEqual(key.uses.count(), 2)


class RotationTest(KeyCase):
    def test_both_work_for_a_while_and_then_only_the_new_one(self) -> None:
        old, before = issue_api_key(user=self.alice, name="laptop", scopes=["read"], networks=["192.0.2.0/24"])
        new, after = self.rotate(self.signed_in(), old, 1)
        self.assertEqual(
            (new.name, new.scopes, new.networks, new.expires_at), ("laptop", ["read"], ["192.0.2.0/24"], None)
        )
        for text, key in ((before, old), (after, new)):
            self.assertEqual(self.using(text).key_id, key.pk)
        later = timezone.now() + dt.timedelta(hours=1, seconds=1)
        with mock.patch("django.utils.timezone.now", return_value=later):
            self.assertEqual(self.using(after).key_id, new.pk)
            with self.assertRaises(NotAdmitted):
                self.using(before)

    @override_settings(KEY_CACHE_SECONDS=60)
    def test_without_an_overlap_the_old_one_ends_at_once_even_if_it_is_cached(self) -> None:
        old, text = issue_api_key(user=self.alice)
        principal_of_key(text, HERE)
        with self.captureOnCommitCallbacks(execute=True):
            self.rotate(self.signed_in(), old, 0)
        self.assertIsNone(cached_principal(text, HERE))
        with self.assertRaises(NotAdmitted):
            principal_of_key(text, HERE)

    def test_the_new_one_lives_as_long_as_the_old_one_was_meant_to(self) -> None:
        old, _ = issue_api_key(user=self.alice, expires_at=timezone.now() + dt.timedelta(days=30))
        ApiKey.objects.filter(pk=old.pk).update(created_at=timezone.now() - dt.timedelta(days=60))
        new, _ = self.rotate(self.signed_in(), old)
        assert new.expires_at is not None
        self.assertAlmostEqual(new.expires_at, timezone.now() + dt.timedelta(days=90), delta=dt.timedelta(minutes=1))

    def test_a_key_does_not_prolong_its_life_by_rotating_itself(self) -> None:
        ends = timezone.now() + dt.timedelta(days=1)
        old, text = issue_api_key(user=self.alice, expires_at=ends)
        new, after = self.rotate(self.using(text), old)
        self.assertEqual((new.expires_at, new.issued_by_id), (ends, old.pk))
        # Whoever revokes the old one, because somebody else knows it, revokes what came of it, too.
        revoke_own_key(principal=self.signed_in(), key_id=old.pk)
        with self.assertRaises(NotAdmitted):
            self.using(after)

    @override_settings(LIMIT_KEYS_PER_USER=2)
    def test_both_count_as_one_key_and_no_more_than_two_in_a_row_work(self) -> None:
        first, _ = issue_api_key(user=self.alice)
        issue_api_key(user=self.alice)
        second, _ = self.rotate(self.signed_in(), first)
        with self.assertRaises(TooManyKeys):
            self.make(self.signed_in())
        for key, why in ((first, "was rotated already"), (second, "which still works")):
            with self.assertRaisesMessage(NotRotatable, why):
                self.rotate(self.signed_in(), key)
        # A successor that was revoked replaces nothing: the old key counts again.
        revoke_own_key(principal=self.signed_in(), key_id=second.pk)
        with self.assertRaises(TooManyKeys):
            self.make(self.signed_in())
        self.rotate(self.signed_in(), first)
        self.assertEqual(ApiKey.objects.counted().count(), 2)

    def test_nobody_gains_anything_by_rotating(self) -> None:
        mine, text = issue_api_key(user=self.alice, scopes=["account", "read"], networks=["192.0.2.0/24"])
        powerful, strong = issue_api_key(user=self.alice, may_change_credentials=True)
        other, _ = issue_api_key(user=self.alice)
        bobs, _ = issue_api_key(user=self.bob)
        who = self.using(text)
        for key in (other, powerful):
            with self.assertRaises(CredentialsRefused):
                self.rotate(who, key)
        with self.assertRaises(ApiKey.DoesNotExist):
            self.rotate(who, bobs)
        with self.assertRaisesMessage(CredentialsRefused, "manage.py rotate_api_key"):
            self.rotate(self.using(strong), powerful)
        ApiKey.objects.filter(pk=powerful.pk).update(scopes=["account"])
        with self.assertRaises(ScopeMissing):  # it may rotate others, but not to have their rights
            self.rotate(self.using(strong), other)
        self.rotate(who, mine)
        self.assertEqual(ApiKey.objects.exclude(replaces=None).count(), 1)

    def test_what_no_longer_works_is_not_rotated(self) -> None:
        old, _ = issue_api_key(user=self.alice, expires_at=timezone.now() - dt.timedelta(seconds=1))
        with self.assertRaises(NotRotatable):
            self.rotate(self.signed_in(), old)

    def test_the_command_keeps_every_right(self) -> None:
        old, text = issue_api_key(user=self.alice, name="backup", may_change_credentials=True)
        out = StringIO()
        call_command("rotate_api_key", text[:11], "--overlap-hours", "2", stdout=out)
        new = ApiKey.objects.get(replaces=old)
        self.assertTrue(new.may_change_credentials)
        self.assertEqual(self.using(out.getvalue().splitlines()[-1]).key_id, new.pk)
        for arguments in ((old.kid,), ("nothing",), (new.kid, "--overlap-hours", "169")):
            with self.assertRaises(CommandError):
                call_command("rotate_api_key", *arguments, stdout=StringIO())


class ServiceAccountTest(KeyCase):
    def setUp(self) -> None:
        super().setUp()
        self.robot = register_user(username="robot", service=True)
        self.key, self.text = issue_api_key(user=self.robot)

    def test_its_keys_are_made_by_staff_and_rotated_by_itself(self) -> None:
        who = self.using(self.text)
        with self.assertRaisesMessage(CredentialsRefused, "staff create its keys"):
            self.make(who)
        new, _ = self.rotate(who, self.key)
        self.assertEqual(new.replaces_id, self.key.pk)

    def test_a_rotation_by_service_keeps_its_issuer(self) -> None:
        child, _ = issue_api_key(user=self.robot, issued_by_id=self.key.pk)
        self.assertEqual(rotate_api_key(key=child)[0].issued_by_id, self.key.pk)
