"""Whose limits hold for a caller, and how soon a change of them does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import TestCase, override_settings

from accounts import throttling
from accounts.callers import Principal
from accounts.limits import NO_LIMITS, Override
from accounts.models import ApiKey, GroupOwner, RateWindow, SubjectLimits, User
from accounts.principal import cached_principal, clear_cache, principal_of_key
from accounts.services import issue_api_key, register_user
from accounts.subject_limits import OF_ACCOUNT, OF_KEY, groups_owned_by, limits_of
from accounts.throttling import RateLimited, enforce_reads
from chatservice.testing import wait_for_minute


def limit(subject: Group | User | ApiKey, **values: Any) -> SubjectLimits:
    name = {Group: "group", User: "user", ApiKey: "key"}[type(subject)]
    return SubjectLimits.objects.create(**{name: subject}, **values)


class LimitsCase(TestCase):
    def setUp(self) -> None:
        clear_cache()
        self.addCleanup(clear_cache)
        self.alice, self.bob = register_user(username="alice"), register_user(username="bob")
        self.key, self.text = issue_api_key(user=self.alice)
        self.interns, self.editors = (Group.objects.create(name=name) for name in ("interns", "editors"))
        self.alice.groups.add(self.interns, self.editors)

    def principal(self, **fields: Any) -> Principal:
        limits = limits_of(self.alice, self.key.pk)
        return Principal(self.alice.pk, "alice", key_id=self.key.pk, limits=limits, **fields)


class WhoseTest(LimitsCase):
    def test_an_own_value_comes_first_even_if_it_is_smaller_and_each_value_by_itself(self) -> None:
        limit(self.interns, starts_per_minute=100, tokens_per_minute=5)
        limit(self.alice, starts_per_minute=2)
        account = limits_of(self.alice).account
        self.assertEqual(account.starts_per_minute, Override(2, OF_ACCOUNT))
        self.assertEqual(account.tokens_per_minute, Override(5, "limit of the group 'interns'"))
        self.assertIsNone(account.runs_at_once)

    def test_of_several_groups_the_most_generous_value_holds_and_none_is_the_most(self) -> None:
        limit(self.interns, starts_per_minute=3, runs_at_once=0, reads_per_minute=9, search=False)
        limit(self.editors, starts_per_minute=4, runs_at_once=7, search=True)
        account = limits_of(self.alice).account
        self.assertEqual(account.starts_per_minute, Override(4, "limit of the group 'editors'"))
        self.assertEqual(account.runs_at_once, Override(0, "limit of the group 'interns'"))
        self.assertEqual(account.reads_per_minute, Override(9, "limit of the group 'interns'"))
        self.assertEqual(account.search, Override(True, "limit of the group 'editors'"))
        self.assertEqual(limits_of(self.bob), NO_LIMITS)

    def test_the_models_of_all_groups_are_allowed_together(self) -> None:
        limit(self.interns, models_allowed=["echo", "a*"])
        limit(self.editors, models_allowed=["a*", "b"])
        allowed = Override(("a*", "b", "echo"), "limit of the groups 'editors' and 'interns'")
        self.assertEqual(limits_of(self.alice).account.models_allowed, allowed)
        limit(self.alice, models_allowed=[])
        self.assertEqual(limits_of(self.alice).account.models_allowed, Override((), OF_ACCOUNT))

    def test_a_keys_limits_are_its_own_and_no_other_keys(self) -> None:
        limit(self.key, starts_per_minute=1, search=False)
        other, _ = issue_api_key(user=self.alice)
        found = limits_of(self.alice, self.key.pk)
        self.assertEqual(found.key.starts_per_minute, Override(1, OF_KEY))
        self.assertIsNone(found.account.starts_per_minute)
        self.assertEqual(found.forbids_search, OF_KEY)
        self.assertEqual([limits_of(self.alice, other.pk), limits_of(self.alice)], [NO_LIMITS, NO_LIMITS])

    def test_an_account_that_a_user_made_has_its_makers(self) -> None:
        limit(self.interns, starts_per_minute=3)
        made = register_user(username="made", created_by=self.alice)
        made.groups.add(self.editors)
        limit(self.editors, starts_per_minute=50, tokens_per_minute=50)
        Group.objects.get(name="editors").user_set.remove(self.alice)
        found, hers = limits_of(made).account, limits_of(self.alice).account
        self.assertEqual((found.starts_per_minute, found.tokens_per_minute), (hers.starts_per_minute, None))
        with self.assertRaisesMessage(ValidationError, "shares the limits of alice"):
            SubjectLimits(user=made, starts_per_minute=99).full_clean()

    def test_guests_have_those_of_the_settings(self) -> None:
        guest = register_user(username="visitor", guest_made=True)
        guest.groups.add(self.interns)
        limit(self.interns, starts_per_minute=1_000)
        self.assertEqual(limits_of(guest), NO_LIMITS)
        with self.assertRaisesMessage(ValidationError, "limits of guests are settings"):
            SubjectLimits(user=guest).full_clean()

    def test_a_row_is_of_exactly_one_subject_and_a_subject_has_one_row(self) -> None:
        limit(self.alice)
        for wrong in ({}, {"group": self.interns, "user": self.bob}, {"user": self.bob, "key": self.key}):
            with self.assertRaises(IntegrityError), transaction.atomic():
                SubjectLimits.objects.create(**wrong)
            with self.assertRaisesMessage(ValidationError, "Choose one group, one user or one key."):
                SubjectLimits(**wrong).full_clean()
        with self.assertRaises(IntegrityError), transaction.atomic():
            limit(self.alice)

    def test_patterns_are_a_list_of_texts(self) -> None:
        for wrong in ("echo", {"echo": 1}, [1], [["echo"]]):
            with self.assertRaisesMessage(ValidationError, "a list of patterns"):
                SubjectLimits(user=self.bob, models_allowed=wrong).full_clean()
        SubjectLimits(user=self.bob, models_allowed=[]).full_clean()

    def test_owners_see_their_groups_and_no_others(self) -> None:
        GroupOwner.objects.create(group=self.interns, user=self.bob)
        self.assertEqual(list(groups_owned_by(self.bob)), [self.interns])
        self.assertEqual(list(groups_owned_by(self.alice)), [])  # a member owns nothing


class FoundTest(LimitsCase):
    """Limits come with the principal, and go from its cache when they change."""

    def find(self) -> Principal:
        return principal_of_key(self.text)

    def test_while_nobody_has_limits_a_key_takes_one_query_as_before(self) -> None:
        self.find()
        clear_cache()
        with self.assertNumQueries(1):
            self.assertEqual(self.find().limits, NO_LIMITS)
        limit(self.bob, starts_per_minute=1)
        clear_cache()
        with self.assertNumQueries(2):
            self.assertEqual(self.find().limits, NO_LIMITS)
        with self.assertNumQueries(0):
            self.find()

    @override_settings(KEY_CACHE_SECONDS=60)
    def test_every_change_holds_for_the_next_request(self) -> None:
        row = limit(self.interns, starts_per_minute=5)
        expected = [(5, "interns"), (6, "interns"), (6, "learners"), (None, ""), (6, "learners"), (None, "")]

        def save(value: int) -> None:
            row.starts_per_minute = value
            row.save()

        def rename() -> None:
            self.interns.name = "learners"
            self.interns.save()

        changes: list[Callable[[], object]] = [
            lambda: None,
            lambda: save(6),
            rename,
            lambda: self.alice.groups.remove(self.interns),
            lambda: self.interns.user_set.add(self.alice),
            self.interns.delete,
        ]
        for change, (value, group) in zip(changes, expected, strict=True):
            with self.captureOnCommitCallbacks(execute=True):
                change()
            self.assertIsNone(cached_principal(self.text, "") if change is not changes[0] else None)
            found = self.find().limits.account.starts_per_minute
            named = Override(value, f"limit of the group '{group}'") if value else None
            self.assertEqual(found, named)

    def test_a_caller_is_the_same_one_whatever_its_limits_are(self) -> None:
        before = self.find()
        limit(self.alice, starts_per_minute=1)
        clear_cache()
        after = self.find()
        self.assertNotEqual(before.limits, after.limits)
        self.assertEqual((before, hash(before)), (after, hash(after)))


@override_settings(LIMIT_READS_PER_MINUTE=5)
class ReadsTest(LimitsCase):
    def setUp(self) -> None:
        super().setUp()
        wait_for_minute()

    def refusal(self, who: Principal) -> str:
        with self.assertRaises(RateLimited) as refused:
            enforce_reads(who)
        self.assertTrue(1 <= refused.exception.retry_after <= 60)
        return refused.exception.message

    def counted(self, key: str) -> int:
        return throttling.used([key]).get(key, 0)

    def test_the_groups_number_replaces_the_settings_and_names_the_group(self) -> None:
        limit(self.interns, reads_per_minute=7)
        who = self.principal()
        for _ in range(7):
            enforce_reads(who)
        self.assertEqual(self.refusal(who), "At most 7 requests a minute (limit of the group 'interns').")

    def test_a_key_has_its_own_counter_and_what_it_is_refused_costs_the_user_nothing(self) -> None:
        limit(self.key, reads_per_minute=2)
        who = self.principal()
        for _ in range(2):
            enforce_reads(who)
        self.assertEqual(self.refusal(who), "At most 2 requests a minute (limit of this key).")
        without = Principal(self.alice.pk, "alice")
        for _ in range(3):
            enforce_reads(without)
        self.assertEqual(self.refusal(without), "At most 5 requests a minute (LIMIT_READS_PER_MINUTE).")
        self.assertEqual(self.counted(f"reads:{self.alice.pk.hex}"), 6)
        self.assertTrue(RateWindow.objects.filter(key=f"reads:{self.alice.pk.hex}:{self.key.pk.hex}").exists())

    def test_any_number_of_a_user_is_not_any_number_of_its_key(self) -> None:
        limit(self.alice, reads_per_minute=0)
        limit(self.key, reads_per_minute=1)
        enforce_reads(self.principal())
        self.assertIn("limit of this key", self.refusal(self.principal()))
        for _ in range(9):
            enforce_reads(Principal(self.alice.pk, "alice", limits=limits_of(self.alice)))

    def test_who_is_not_counted_is_not_limited(self) -> None:
        limit(self.alice, reads_per_minute=1)
        with self.assertNumQueries(0):
            for _ in range(3):
                enforce_reads(Principal(self.alice.pk, "alice", is_counted=False))
