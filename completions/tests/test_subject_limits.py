"""Limits of a user, a group or a key hold where answers are accepted: exactly, and both a user's and its key's."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.db import connections
from django.test import SimpleTestCase, TestCase, override_settings

from accounts import throttling
from accounts.callers import Principal
from accounts.limits import Limits, Override, Overrides
from accounts.models import ApiKey, SubjectLimits, User
from accounts.services import issue_api_key
from accounts.subject_limits import limits_of
from chatservice.testing import KeptTablesTestCase, wait_for_minute
from completions import queueing, recall, token_rates
from completions.exceptions import ModelNotAllowed, Refused, TooManyMessages, TooManyRuns
from completions.models import Run
from completions.request_policy import allowed_models, check
from completions.run_requests import RunHandle, RunRequest, WhenBusy
from completions.tests.asking import accept_all, accept_one, question, somebody, user_says
from completions.types import ModelInfo

NO_SETTINGS = {"LIMIT_RUNS_PER_USER": 0, "LIMIT_RUN_STARTS_PER_MINUTE": 0}


def ask(user: User, key: ApiKey | None = None, **fields: Any) -> RunRequest:
    """Return a question as the service makes it of a request with this key, with the limits found for it."""
    request = question(user, "Hi", threaded=True, exclusive=False, **fields)
    key_id = key.pk if key else None
    return replace(request, principal=replace(request.principal, key_id=key_id, limits=limits_of(user, key_id)))


class SubjectCase(TestCase):
    def setUp(self) -> None:
        self.alice = somebody("alice")
        self.key, _ = issue_api_key(user=self.alice)
        self.group = Group.objects.create(name="interns")
        self.alice.groups.add(self.group)
        wait_for_minute()

    def refusal(self, request: RunRequest) -> str:
        with self.assertRaises(TooManyRuns) as refused:
            accept_one(request)
        self.assertTrue(1 <= (refused.exception.retry_after or 0) <= 60)
        return refused.exception.message

    def counted(self, kind: str) -> list[int]:
        """Return what is counted for alice, and for her key."""
        keys = [f"{kind}:{self.alice.pk.hex}", f"{kind}:{self.alice.pk.hex}:{self.key.pk.hex}"]
        found = throttling.used(keys)
        return [found.get(key, 0) for key in keys]


class StartsTest(SubjectCase):
    @override_settings(LIMIT_RUN_STARTS_PER_MINUTE=1, LIMIT_RUNS_PER_USER=0)
    def test_a_group_may_more_than_the_setting(self) -> None:
        SubjectLimits.objects.create(group=self.group, starts_per_minute=3)
        self.assertEqual([accept_one(ask(self.alice)).rates[0].remaining for _ in range(3)], [2, 1, 0])
        message = "At most 3 answers can be started per minute (limit of the group 'interns')."
        self.assertEqual(self.refusal(ask(self.alice)), message)
        bob = somebody("bob")
        accept_one(ask(bob))
        self.assertIn("(LIMIT_RUN_STARTS_PER_MINUTE)", self.refusal(ask(bob)))

    @override_settings(LIMIT_RUN_STARTS_PER_MINUTE=4, LIMIT_RUNS_PER_USER=0)
    def test_a_question_passes_both_and_what_one_refuses_is_counted_by_none(self) -> None:
        SubjectLimits.objects.create(key=self.key, starts_per_minute=2)
        self.assertEqual([accept_one(ask(self.alice, self.key)).rates[0].remaining for _ in range(2)], [1, 0])
        message = "At most 2 answers can be started per minute (limit of this key)."
        self.assertEqual([self.refusal(ask(self.alice, self.key)) for _ in range(2)], [message] * 2)
        self.assertEqual(self.counted("runs"), [2, 2])
        for _ in range(2):
            accept_one(ask(self.alice))
        self.assertIn("LIMIT_RUN_STARTS_PER_MINUTE", self.refusal(ask(self.alice)))
        self.assertEqual(self.counted("runs"), [4, 2])

    @override_settings(**NO_SETTINGS)
    def test_n_counts_as_n_for_the_key_and_in_one_batch_as_well(self) -> None:
        SubjectLimits.objects.create(key=self.key, starts_per_minute=4)
        results = accept_all(*(ask(self.alice, self.key, parameters={"n": n}) for n in (3, 2, 1)))
        self.assertEqual([isinstance(each, RunHandle) for each in results], [True, False, True])
        self.assertEqual(self.counted("runs"), [4, 4])

    @override_settings(LIMIT_RUN_STARTS_PER_MINUTE=1, LIMIT_ROWS_PER_MINUTE=40, LIMIT_RUNS_PER_USER=0)
    def test_more_starts_do_not_bring_more_rows(self) -> None:
        """With the setting's one start a minute, the rows of short questions need not be counted."""
        SubjectLimits.objects.create(user=self.alice, starts_per_minute=0)
        with self.assertRaises(TooManyMessages):
            for _ in range(40):
                accept_one(ask(self.alice))


class AtOnceTest(SubjectCase):
    @override_settings(**NO_SETTINGS)
    def test_a_key_has_room_of_its_own_within_its_users(self) -> None:
        SubjectLimits.objects.create(user=self.alice, runs_at_once=3)
        SubjectLimits.objects.create(key=self.key, runs_at_once=1)
        accept_one(ask(self.alice, self.key))
        message = "At most 1 answers can be written at once (limit of this key)."
        self.assertEqual(self.refusal(ask(self.alice, self.key)), message)
        results = accept_all(*(ask(self.alice) for _ in range(3)))
        self.assertEqual([isinstance(each, RunHandle) for each in results], [True, True, False])
        self.assertEqual(self.counted("runs"), [3, 1])  # the key's counter is the lock of its count
        Run.objects.filter(api_key_id=self.key.pk).update(state=Run.State.COMPLETE)
        accept_one(ask(self.alice, self.key))
        message = "At most 3 answers can be written at once (limit of this account)."
        self.assertEqual(self.refusal(ask(self.alice)), message)

    @override_settings(LIMIT_RUNS_PER_USER=1, LIMIT_RUN_STARTS_PER_MINUTE=0)
    def test_none_for_a_user_is_none_whatever_the_setting_says(self) -> None:
        SubjectLimits.objects.create(user=self.alice, runs_at_once=0)
        for _ in range(3):
            accept_one(ask(self.alice))

    @override_settings(**NO_SETTINGS)
    def test_accounts_that_a_user_made_share_what_it_has(self) -> None:
        SubjectLimits.objects.create(user=self.alice, runs_at_once=1)
        made = somebody("made")
        made.limits_owner = self.alice
        made.save()
        accept_one(ask(made))
        self.assertIn("limit of this account", self.refusal(ask(self.alice)))


class TokensTest(SubjectCase):
    def spend(self, request: RunRequest, usage: dict[str, int]) -> None:
        token_rates.count([(token_rates.keys_of(request.principal), sum(usage.values()))])

    @override_settings(**NO_SETTINGS)
    def test_once_the_minutes_tokens_are_used_nothing_starts(self) -> None:
        SubjectLimits.objects.create(group=self.group, tokens_per_minute=100)
        request = ask(self.alice)
        [rate] = accept_one(request).rates
        self.assertEqual((rate.unit, rate.limit, rate.used), ("tokens", 100, 0))
        self.spend(request, {"prompt_tokens": 60, "completion_tokens": 39})
        [rate] = accept_one(request).rates
        self.assertEqual((rate.unit, rate.used, rate.remaining), ("tokens", 99, 1))
        self.spend(request, {"prompt_tokens": 1, "completion_tokens": 500})
        message = "At most 100 tokens can be used per minute (limit of the group 'interns')."
        self.assertEqual(self.refusal(request), message)
        self.assertEqual(self.counted("tokens"), [600, 0])

    @override_settings(LIMIT_TOKENS_PER_MINUTE=1_000, **NO_SETTINGS)
    def test_a_key_with_a_limit_is_counted_beside_its_user_and_the_tighter_one_is_told(self) -> None:
        SubjectLimits.objects.create(key=self.key, tokens_per_minute=50)
        request = ask(self.alice, self.key)
        self.spend(request, {"prompt_tokens": 20, "completion_tokens": 20})
        self.spend(ask(self.alice), {"prompt_tokens": 100, "completion_tokens": 0})
        self.assertEqual(self.counted("tokens"), [140, 40])
        self.assertEqual([rate.remaining for rate in accept_one(request).rates], [10])
        self.spend(request, {"prompt_tokens": 10, "completion_tokens": 0})
        self.assertIn("limit of this key", self.refusal(request))
        self.assertEqual([rate.remaining for rate in accept_one(ask(self.alice)).rates], [850])

    @override_settings(LIMIT_TOKENS_PER_MINUTE=10**9, **NO_SETTINGS)
    def test_a_counter_never_overflows_whatever_a_server_reports(self) -> None:
        for _ in range(3):
            self.spend(ask(self.alice), {"prompt_tokens": 2**53 - 1, "completion_tokens": 2**53 - 1})
        self.assertEqual(self.counted("tokens"), [3 * token_rates.MAX_AMOUNT, 0])

    @override_settings(**NO_SETTINGS)
    def test_without_a_limit_nothing_is_counted_or_read(self) -> None:
        with self.assertNumQueries(0):
            self.spend(ask_without_limits(self.alice), {"prompt_tokens": 1, "completion_tokens": 1})
        self.assertEqual(accept_one(ask(self.alice)).rates, ())


def ask_without_limits(user: User) -> RunRequest:
    return question(user, "Hi", threaded=True, exclusive=False)


class ModelsTest(SubjectCase):
    def may(self, model: str, key: ApiKey | None = None) -> str:
        who = ask(self.alice, key).principal
        listed = async_to_sync(allowed_models)(who, [ModelInfo(model, "x")])
        try:
            async_to_sync(check)(who, model, {})
        except ModelNotAllowed as refused:
            self.assertEqual(listed, [])
            return refused.message
        self.assertEqual([each.id for each in listed], [model])
        return ""

    @override_settings(MODELS_ALLOWED={"*": ["echo"], "group:interns": ["none"]})
    def test_a_groups_patterns_replace_the_settings_and_a_keys_narrow_them(self) -> None:
        self.assertIn("(MODELS_ALLOWED)", self.may("gpt-4o"))
        SubjectLimits.objects.create(group=self.group, models_allowed=["gpt-*", "o3"])
        SubjectLimits.objects.create(key=self.key, models_allowed=["*-mini", "echo"])
        self.assertEqual([self.may(model) for model in ("gpt-4o", "gpt-4o-mini", "o3")], [""] * 3)
        refused = "The model 'echo' is not allowed for this account (limit of the group 'interns')."
        self.assertEqual([self.may("echo"), self.may("echo", self.key)], [refused] * 2)
        self.assertEqual(self.may("gpt-4o-mini", self.key), "")
        self.assertIn("(limit of this key)", self.may("gpt-4o", self.key))

    def test_a_key_narrows_what_nothing_else_limits(self) -> None:
        SubjectLimits.objects.create(key=self.key, models_allowed=[])
        self.assertEqual(self.may("echo"), "")
        self.assertIn("(limit of this key)", self.may("echo", self.key))


class QueuedTest(SubjectCase):
    def test_a_question_that_waited_starts_with_the_limits_that_hold_by_then(self) -> None:
        first = accept_one(question(self.alice, "Hi"))
        assert first.conversation_id is not None
        waiting = question(self.alice, "And?", conversation_id=first.conversation_id, when_busy=WhenBusy.QUEUE)
        self.assertTrue(accept_one(waiting).queued)
        SubjectLimits.objects.create(group=self.group, models_allowed=["none"])
        Run.objects.filter(pk=first.run_id).update(state=Run.State.COMPLETE)
        promoted = queueing.promote(first.conversation_id)
        assert promoted is not None
        with self.assertRaisesMessage(ModelNotAllowed, "(limit of the group 'interns')"):
            async_to_sync(check)(promoted.request.principal, promoted.request.model, {})


class RecallTest(SimpleTestCase):
    def test_who_may_not_search_is_quoted_nothing(self) -> None:
        limits = Limits(key=Overrides(search=Override(False, "limit of this key")))
        who = Principal(ApiKey().id, "alice", limits=limits)  # a query would fail here
        found = async_to_sync(recall.quotation)(
            who, recall.Recall(), [user_says("Where?")], conversation_id=None, tokens=100
        )
        self.assertIsNone(found)


class ConcurrentTest(KeptTablesTestCase):
    def test_of_many_at_once_exactly_as_many_pass_as_both_limits_let(self) -> None:
        alice = somebody("alice")
        limited, free = (issue_api_key(user=alice)[0] for _ in range(2))
        for row in (
            {"user": alice, "starts_per_minute": 9},
            {"key": limited, "starts_per_minute": 4, "runs_at_once": 3},
        ):
            self.addCleanup(SubjectLimits.objects.create(**row).delete)
        requests = [ask(alice, key) for key in (limited, free) * 8]
        wait_for_minute()

        def start(request: RunRequest) -> str:
            try:
                accept_one(request)
                return f"key {request.principal.key_id}"
            except Refused as refused:
                return type(refused).__name__
            finally:
                connections.close_all()

        with override_settings(LIMIT_RUNS_PER_USER=0), ThreadPoolExecutor(8) as threads:
            told = Counter(threads.map(start, requests))
        by_key = Counter(Run.objects.filter(user=alice).values_list("api_key_id", flat=True))
        self.assertEqual(sum(by_key.values()), 9)
        self.assertTrue(1 <= by_key[limited.pk] <= 3, by_key)
        self.assertEqual(told["TooManyRuns"], 7)
        self.assertEqual(self.counters(alice), {"": 9, limited.pk.hex: by_key[limited.pk]})

    def counters(self, user: User) -> dict[str, int]:
        keys = [f"runs:{user.pk.hex}", *(f"runs:{user.pk.hex}:{key.pk.hex}" for key in user.api_keys.all())]
        found = throttling.used(keys)
        return {key.partition(user.pk.hex)[2].strip(":"): used for key, used in found.items()}
