"""Budgets hold: what requests may use is reserved before they are accepted, and settled by how they end."""

from __future__ import annotations

import threading
import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import TestCase, override_settings

from accounts.models import User
from chatservice.testing import KeptTablesTestCase
from completions.charges import Payer
from completions.exceptions import BudgetExhausted, Refused
from completions.models import Run
from completions.recall import SHARE
from completions.run_requests import RunHandle, WhenBusy
from completions.run_results import RunResult
from completions.services import interrupt
from completions.spending import release_orphans, settle_deleted
from completions.tests.asking import accept_all, accept_one, end_run, question, run_of, somebody
from conversations.models import Conversation
from conversations.services import delete_conversation
from usage.budget_rules import forget_budgets
from usage.budgets import Amount, Budgets
from usage.models import Budget, BudgetUse, DailyUsage, Reservation
from usage.prices import forget_prices
from usage.tests.prices import add_price

MAX = {"max_tokens": 100}


def budget(name: str = "Month", **fields: Any) -> Budget:
    made = Budget.objects.create(name=name, **{"max_tokens": 1_000, **fields})
    forget_budgets()
    return made


def end(handle: RunHandle, *, tokens: int = 0, status: str = "complete") -> None:
    usage = {"prompt_tokens": tokens, "completion_tokens": 0} if tokens else None
    ids = (handle.run_id, handle.message_id, handle.conversation_id)
    end_run(RunResult(*ids, status, content="Yes", usage=usage))


class BudgetCase(TestCase):
    def setUp(self) -> None:
        forget_budgets()
        self.addCleanup(forget_budgets)
        self.alice, self.bob = somebody("alice"), somebody("bob")

    def use(self) -> BudgetUse:
        return BudgetUse.objects.get()

    def ask(self, user: User | None = None, text: str = "Hi", **fields: Any) -> RunHandle:
        return accept_one(question(user or self.alice, text, parameters=MAX, **fields))


class ReservationTest(BudgetCase):
    def test_a_request_reserves_its_worst_case_and_its_end_settles_it(self) -> None:
        budget()
        handle = self.ask()
        use = self.use()
        self.assertEqual((use.used_tokens, use.reserved_tokens > 100), (0, True))
        self.assertEqual(Reservation.objects.get().tokens, use.reserved_tokens)
        end(handle, tokens=40)
        use = self.use()
        self.assertEqual((use.used_tokens, use.reserved_tokens), (40, 0))
        self.assertFalse(Reservation.objects.exists())

    def test_what_could_pass_a_budget_is_refused_and_reserves_nothing(self) -> None:
        budget("Interns in May", max_tokens=250)
        first = self.ask()
        with self.assertRaisesRegex(BudgetExhausted, "'Interns in May' has .* of 250 tokens left.*renewed at"):
            self.ask()
        self.assertEqual(Run.objects.count(), 1)
        self.assertEqual(Reservation.objects.get().run_id, first.run_id)
        end(first, tokens=1)
        self.ask()

    def test_of_one_batch_only_those_are_accepted_that_fit(self) -> None:
        budget(max_tokens=500)
        asked = [question(self.alice, "Hi", parameters=MAX) for _ in range(8)]
        told = accept_all(*asked)
        accepted = [each for each in told if isinstance(each, RunHandle)]
        self.assertTrue(0 < len(accepted) < 8)
        self.assertLessEqual(self.use().reserved_tokens, 500)
        self.assertTrue(all(isinstance(each, BudgetExhausted) for each in told if isinstance(each, Refused)))

    def test_without_a_stated_length_the_longest_answer_is_reserved(self) -> None:
        budget(max_tokens=100_000)
        with self.settings(LIMIT_OUTPUT_CHARS=5_000):
            accept_one(question(self.alice, "Hi"))
        self.assertGreater(self.use().reserved_tokens, 5_000)

    def test_what_is_not_stored_is_counted_as_well(self) -> None:
        budget()
        handle = self.ask(store=False)
        end(handle, tokens=7)
        self.assertEqual((self.use().used_tokens, self.use().reserved_tokens), (7, 0))

    def test_every_answer_of_n_is_reserved(self) -> None:
        budget(max_tokens=10_000)
        accept_one(question(self.alice, "Hi", parameters={**MAX, "n": 5}))
        self.assertGreater(self.use().reserved_tokens, 500)

    def test_the_history_of_a_conversation_is_reserved(self) -> None:
        budget(max_tokens=100_000)
        first = self.ask(text="ä" * 5_000)
        end(first, tokens=1)
        accept_one(question(self.alice, "And?", parameters=MAX, conversation_id=first.conversation_id))
        self.assertGreater(self.use().reserved_tokens, 10_000)

    def test_a_budget_that_only_warns_refuses_nothing(self) -> None:
        budget(max_tokens=1, is_hard=False)
        end(self.ask(), tokens=500)
        self.assertEqual(self.use().used_tokens, 500)

    def test_what_an_upstream_does_not_report_is_estimated(self) -> None:
        budget()
        handle = self.ask()
        interrupt(run_of(handle))
        run = run_of(handle)
        self.assertTrue(run.is_estimate)
        self.assertGreater(run.input_tokens or 0, 0)
        self.assertEqual((self.use().used_tokens, self.use().reserved_tokens), (run.input_tokens, 0))

    def test_the_history_is_estimated_as_well(self) -> None:
        budget(max_tokens=100_000)
        first = self.ask(text="x" * 4_000)
        end(first, tokens=1)
        again = accept_one(question(self.alice, parameters=MAX, conversation_id=first.conversation_id))
        interrupt(run_of(again))
        self.assertGreater(run_of(again).input_tokens or 0, 1_000)

    def test_a_question_that_waits_reserves_the_answers_before_it(self) -> None:
        budget(max_tokens=100_000)
        first = self.ask()
        [reserved] = Reservation.objects.values_list("tokens", flat=True)
        place: dict[str, Any] = {
            "conversation_id": first.conversation_id,
            "when_busy": WhenBusy.QUEUE,
            "parameters": MAX,
        }
        second, third = accept_all(*(question(self.alice, "Hi", **place) for _ in range(2)))
        assert isinstance(second, RunHandle) and isinstance(third, RunHandle)
        held = dict(Reservation.objects.values_list("run_id", "tokens"))
        self.assertGreaterEqual(held[second.run_id], reserved + 100)
        self.assertGreaterEqual(held[third.run_id], reserved + 200)

    def test_what_a_conversation_recalls_is_reserved(self) -> None:
        budget(max_tokens=100_000)
        first = self.ask()
        end(first, tokens=1)
        place: dict[str, Any] = {"conversation_id": first.conversation_id}
        Conversation.objects.filter(owner=self.alice).update(recall={"limit": 3})
        self.ask(**place)
        self.assertGreater(self.use().reserved_tokens, settings.CONTEXT_TOKENS["*"] // SHARE)

    def test_what_a_conversation_keeps_for_its_answers_is_reserved(self) -> None:
        budget(max_tokens=100_000)
        first = self.ask()
        end(first, tokens=1)
        place: dict[str, Any] = {"conversation_id": first.conversation_id}
        mine = Conversation.objects.filter(owner=self.alice)
        mine.update(generation={"instructions": "x" * 5_000, "max_tokens": 40_000})
        handle = self.ask(**place)  # its own max_tokens come first
        self.assertLess(self.use().reserved_tokens, 10_000)
        end(handle, tokens=1)
        handle = accept_one(question(self.alice, "Hi", **place))
        self.assertGreater(self.use().reserved_tokens, 45_000)
        end(handle, tokens=1)
        mine.update(generation={"max_tokens": 100_000})
        with self.assertRaises(BudgetExhausted):
            accept_one(question(self.alice, "Hi", **place))
        self.ask(**place)


class DeletedTest(BudgetCase):
    def test_a_run_that_is_deleted_as_it_ends_is_charged(self) -> None:
        budget()
        handle = self.ask()
        delete_conversation(conversation=run_of(handle).conversation)  # type: ignore[arg-type]
        usage = {"prompt_tokens": 30, "completion_tokens": 10}
        ids = (handle.run_id, handle.message_id, handle.conversation_id)
        result = RunResult(*ids, "complete", content="Yes", usage=usage)
        self.assertIsNone(end_run(result))
        settle_deleted(result, Payer(self.alice.pk, None, "echo"))
        self.assertEqual((self.use().used_tokens, self.use().reserved_tokens), (40, 0))
        self.assertEqual(DailyUsage.objects.get().output_tokens, 10)


class PriceTest(BudgetCase):
    @override_settings(
        UPSTREAMS={
            "cheap": {"base_url": "http://127.0.0.1:1/v1", "models": ["m"]},
            "dear": {"base_url": "http://127.0.0.1:2/v1", "models": ["m"]},
        }
    )
    def test_the_dearest_upstream_that_may_answer_is_reserved(self) -> None:
        add_price("m", input="1", output="1", upstream="cheap")
        add_price("m", input="1", output="50", upstream="dear")
        forget_prices()
        budget(max_tokens=None, max_cost=100 * 50 + 1_000)
        self.ask(model="m")
        self.assertGreaterEqual(self.use().reserved_cost, 100 * 50)
        with self.assertRaisesRegex(BudgetExhausted, "USD left"):
            self.ask(model="m")


class SubjectTest(BudgetCase):
    def used_by_both(self, **fields: Any) -> list[int]:
        budget(**fields)
        for user in (self.alice, self.bob):
            end(self.ask(user), tokens=10)
        return sorted(BudgetUse.objects.values_list("used_tokens", flat=True))

    def test_everybody_shares_one(self) -> None:
        self.assertEqual(self.used_by_both(), [20])

    def test_everybody_has_one(self) -> None:
        self.assertEqual(self.used_by_both(for_each=True), [10, 10])

    def test_one_user_has_one(self) -> None:
        self.assertEqual(self.used_by_both(user=self.bob), [10])

    def test_a_group_shares_one(self) -> None:
        group = Group.objects.create(name="interns")
        group.user_set.add(self.alice, self.bob)
        self.assertEqual(self.used_by_both(group=group), [20])

    def test_the_tightest_of_several_wins(self) -> None:
        group = Group.objects.create(name="interns")
        group.user_set.add(self.alice)
        budget("Everybody", max_tokens=100_000)
        budget("Interns", group=group, max_tokens=50)
        with self.assertRaisesRegex(BudgetExhausted, "'Interns'"):
            self.ask()
        self.ask(self.bob)

    def test_an_end_user_has_one(self) -> None:
        budget(end_user="*", for_each=True, max_tokens=200)
        self.ask(end_user="kim")
        with self.assertRaises(BudgetExhausted):
            self.ask(end_user="kim")
        self.ask(end_user="lee")
        self.ask()

    def test_an_account_made_by_a_user_uses_the_users(self) -> None:
        made = somebody("made")
        User.objects.filter(pk=made.pk).update(limits_owner=self.alice)
        made.refresh_from_db()
        budget(user=self.alice)
        end(self.ask(made), tokens=10)
        self.assertEqual(self.use().used_tokens, 10)


class ReleaseTest(BudgetCase):
    def test_what_a_deleted_request_had_reserved_is_released(self) -> None:
        budget()
        handle = self.ask()
        delete_conversation(conversation=run_of(handle).conversation)  # type: ignore[arg-type]
        self.assertEqual(release_orphans(), 0, "its process may be about to settle it")
        self.assertEqual(release_orphans(), 1)
        self.assertEqual(self.use().reserved_tokens, 0)

    def test_what_runs_is_not_released(self) -> None:
        budget()
        self.ask()
        self.assertEqual([release_orphans(), release_orphans()], [0, 0])


class LedgerTest(BudgetCase):
    def test_requests_of_a_day_are_one_row(self) -> None:
        for tokens in (5, 6):
            end(self.ask(), tokens=tokens)
        end(self.ask(self.bob), tokens=9)
        row = DailyUsage.objects.get(user=self.alice)
        self.assertEqual((row.requests, row.input_tokens, row.unpriced, row.failed), (2, 11, 2, 0))
        self.assertEqual(DailyUsage.objects.get(user=self.bob).input_tokens, 9)


class ParallelTest(KeptTablesTestCase):
    """Threads with connections of their own: nothing passes the limit, and nobody deadlocks."""

    def setUp(self) -> None:
        self.users = [somebody(f"user{number}") for number in range(4)]
        self.group = Group.objects.create(name=f"group-{uuid.uuid4()}")  # what applies to others would refuse them
        self.group.user_set.add(*self.users)
        self.whole = budget(f"All {self.group}", group=self.group, max_tokens=2_000)
        self.addCleanup(self.leave_nothing)

    def leave_nothing(self) -> None:
        for run in Run.objects.running().filter(user__in=self.users):
            interrupt(run)
        self.group.delete()
        forget_budgets()

    def test_the_sum_never_passes_the_limit(self) -> None:
        users = self.users
        budget(f"Each {self.group}", group=self.group, max_tokens=900, for_each=True)
        errors: list[BaseException] = []

        def ask_often(at: int) -> None:
            try:
                for turn in range(10):
                    told = accept_all(*(question(users[(at + n) % 4], f"{turn}", parameters=MAX) for n in range(2)))
                    for each in told:
                        if isinstance(each, RunHandle) and (turn + at) % 3:
                            end(each, tokens=60)
            except BaseException as error:
                errors.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=ask_often, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        for use in BudgetUse.objects.select_related("budget").filter(budget__group=self.group):
            assert use.budget.max_tokens is not None
            self.assertLessEqual(use.used_tokens + use.reserved_tokens, use.budget.max_tokens)
            held = Reservation.objects.values_list("uses", "tokens")
            reserved = sum(tokens for uses, tokens in held if use.pk in map(uuid.UUID, uses.split()))
            self.assertEqual(use.reserved_tokens, reserved)
        whole = BudgetUse.objects.get(budget=self.whole)
        charged = DailyUsage.objects.filter(user__in=users)
        self.assertEqual(whole.used_tokens, sum(charged.values_list("input_tokens", flat=True)))

    def test_two_processes_that_release_one_request_release_it_once(self) -> None:
        handle = accept_one(question(self.users[0], "Hi", parameters=MAX))
        begun = threading.Event()

        def release() -> None:
            try:
                begun.wait()
                _release(handle.run_id)
            finally:
                connection.close()

        other = threading.Thread(target=release)
        other.start()
        with transaction.atomic():
            _release(handle.run_id)
            begun.set()
            other.join(0.3)  # until it waits for this transaction, or is through
        other.join()
        use = BudgetUse.objects.get(budget=self.whole)
        self.assertEqual((use.reserved_tokens, use.reserved_cost), (0, 0))


def _release(run_id: uuid.UUID) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        budgets = Budgets(cursor, ending=[run_id])
        budgets.settle(run_id, Amount())
        budgets.write()
