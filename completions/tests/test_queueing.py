"""Questions that wait for the answer before them: stored at once, answered in order, by whichever process lives."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any
from unittest import mock

import httpx2
from django.test import TestCase, override_settings

from accounts.services import delete_user, issue_api_key, revoke_api_key
from chatservice.testing import Service, ServiceTestCase, needs_dialect, wait_until
from completions import interrupting, queueing, services
from completions.exceptions import ConversationBusy, QueueFull, TooManyRuns, UnknownConversation
from completions.models import Run
from completions.readers import wait_for_end
from completions.run_requests import RunHandle, RunRequest, WhenBusy
from completions.tests.asking import accept_all, accept_one, question, run_of, somebody
from completions.tests.committed import CommittedTestCase, endings, follow, text_of
from completions.tests.invariants import invariants
from conversations import digests
from conversations.branches import branch_ids
from conversations.models import Conversation, Message
from conversations.services import delete_conversation, delete_message
from foundation.database import in_database_thread

needs_dialect("chat_v1")
NO_LIMITS = override_settings(LIMIT_RUNS_PER_USER=0, LIMIT_RUN_STARTS_PER_MINUTE=0)
BASE = "/v1/chat/conversations"


def queued(user: Any, text: str, after: RunHandle, **fields: Any) -> RunRequest:
    return question(user, text, conversation_id=after.conversation_id, when_busy=WhenBusy.QUEUE, **fields)


def texts_of(conversation_id: Any) -> list[str]:
    """Return what the shown branch says, oldest first."""
    head_id = Conversation.objects.get(pk=conversation_id).head_id
    return [Message.objects.get(pk=pk).content for pk in branch_ids(conversation_id, head_id)]


def answer_of(handle: RunHandle) -> Message:
    return Message.objects.select_related("parent").get(run=handle.run_id)


def question_of(handle: RunHandle) -> Message:
    question = answer_of(handle).parent
    assert question is not None
    return question


def end(handle: RunHandle) -> None:
    """End a run that only the database knows."""
    Run.objects.filter(pk=handle.run_id).update(state="complete")
    message = answer_of(handle)
    before = message.parent.digest if message.parent else ""
    digest = digests.follow(before, {"role": "assistant", "content": "Yes"})
    Message.objects.filter(pk=message.pk).update(status="complete", content="Yes", digest=digest)


@NO_LIMITS
class AcceptTest(TestCase):
    def setUp(self):
        self.alice, self.bob = somebody("alice"), somebody("bob")
        self.first = accept_one(question(self.alice, "one"))

    def promoted(self) -> RunHandle | None:
        assert self.first.conversation_id is not None
        return queueing.promote(self.first.conversation_id)

    def test_the_question_is_stored_after_the_answer_that_is_being_written(self):
        handle = accept_one(queued(self.alice, "two", self.first))
        run, asked = run_of(handle), question_of(handle)
        self.assertEqual((handle.queued, handle.starts_now), (True, False))
        self.assertEqual((run.state, run.worker, run.lease_until), ("queued", "", 0.0))
        self.assertEqual((asked.content, asked.parent_id), ("two", self.first.message_id))
        self.assertEqual(answer_of(handle).status, "in_progress")
        self.assertEqual(Conversation.objects.get(runs=handle.run_id).head_id, handle.message_id)

    def test_it_waits_for_nothing_where_nothing_is_written(self):
        end(self.first)
        handle = accept_one(queued(self.alice, "two", self.first))
        self.assertEqual((handle.queued, run_of(handle).state), (False, "running"))

    def test_a_batch_keeps_its_order_and_the_limit(self):
        results = accept_all(*(queued(self.alice, f"{n}", self.first) for n in range(12)))
        self.assertEqual([isinstance(each, RunHandle) for each in results], [True] * 10 + [False] * 2)
        for refused in results[10:]:
            assert isinstance(refused, QueueFull)
            self.assertEqual(
                (refused.status, refused.code, refused.message),
                (
                    *(429, "queue_full"),
                    "At most 10 questions can wait in one conversation (LIMIT_QUEUED_PER_CONVERSATION).",
                ),
            )
        self.assertEqual(Message.objects.filter(conversation=self.first.conversation_id).count(), 22)
        other = accept_one(question(self.alice, "other"))
        self.assertTrue(accept_one(queued(self.alice, "there", other)).queued)

    def test_nobody_overtakes_what_waits(self):
        accept_one(queued(self.alice, "two", self.first))
        end(self.first)
        for when_busy in (WhenBusy.REJECT, WhenBusy.INTERRUPT):
            ask = question(self.alice, "x", conversation_id=self.first.conversation_id, when_busy=when_busy)
            self.assertIsInstance(accept_all(ask)[0], ConversationBusy)
        self.assertTrue(accept_one(queued(self.alice, "three", self.first)).queued)

    def test_bob_cannot_queue_in_alices_conversation(self):
        [refused] = accept_all(queued(self.bob, "two", self.first))
        self.assertIsInstance(refused, UnknownConversation)
        self.assertEqual(Run.objects.queued().count(), 0)

    @override_settings(LIMIT_RUNS_PER_USER=1, LIMIT_RUN_STARTS_PER_MINUTE=3)
    def test_what_waits_is_no_answer_at_once_but_counts_as_started(self):
        self.assertTrue(accept_one(queued(self.alice, "two", self.first)).queued)
        with self.assertRaisesRegex(TooManyRuns, "LIMIT_RUNS_PER_USER"):
            accept_one(question(self.alice, "elsewhere"))
        self.assertTrue(accept_one(queued(self.alice, "three", self.first)).queued)
        with self.assertRaisesRegex(TooManyRuns, "LIMIT_RUN_STARTS_PER_MINUTE"):
            accept_one(queued(self.alice, "four", self.first))

    def test_the_same_key_is_the_same_run_whatever_a_busy_conversation_means(self):
        keyed = queued(self.alice, "two", self.first, idempotency_key="k", fingerprint="f")
        one, again = accept_all(keyed, keyed)
        assert isinstance(one, RunHandle) and isinstance(again, RunHandle)
        self.assertEqual((one.run_id, again.attached, again.queued), (again.run_id, True, True))
        for when_busy in WhenBusy:
            later = question(
                self.alice,
                "two",
                conversation_id=self.first.conversation_id,
                idempotency_key="k",
                fingerprint="f",
                when_busy=when_busy,
            )
            known = accept_one(later)
            self.assertEqual((known.run_id, known.attached, known.queued), (one.run_id, True, True))

    def test_what_is_promoted_is_the_oldest_with_all_that_it_was_asked_with(self):
        tools = [{"type": "function", "function": {"name": f"tool_{n}", "description": "x" * 500}} for n in range(20)]
        wanted = queued(
            self.alice, "two", self.first, parameters={"tools": tools}, prefill="So", request_id="r-1", stream=False
        )
        handle = accept_one(wanted)
        accept_one(queued(self.alice, "three", self.first))
        self.assertIsNone(self.promoted())
        end(self.first)
        promoted = self.promoted()
        assert promoted is not None
        self.assertEqual(promoted.run_id, handle.run_id)
        for name in ("model", "upstream", "request_id", "parameters", "stream", "prefill", "conversation_id"):
            self.assertEqual(getattr(promoted.request, name), getattr(wanted, name), name)
        self.assertEqual(promoted.request.principal, wanted.principal)
        run = run_of(handle)
        self.assertEqual((run.state, run.epoch, run.request), ("running", 2, None))
        self.assertGreater(run.lease_until, 0)
        asked = question_of(handle)
        wires = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "Yes"}]
        chain = digests.chain(digests.root(self.alice.pk), [*wires, {"role": "user", "content": "two"}])
        self.assertEqual((asked.digest, promoted.digest_before), (chain[-1], chain[-1]))
        self.assertIsNone(self.promoted())

    def test_what_may_no_longer_be_asked_is_cancelled_and_the_next_one_moves_up(self):
        key, _ = issue_api_key(user=self.alice)
        revoked = accept_one(question(self.alice, "two", conversation_id=self.first.conversation_id, when_busy="queue"))
        Run.objects.filter(pk=revoked.run_id).update(api_key_id=key.pk)
        revoke_api_key(key=key)
        deleted = accept_one(queued(self.alice, "three", self.first))
        delete_message(message=question_of(deleted))
        last = accept_one(queued(self.alice, "four", self.first))
        end(self.first)
        promoted = self.promoted()
        assert promoted is not None
        self.assertEqual(promoted.run_id, last.run_id)
        for handle in (revoked, deleted):
            self.assertEqual(run_of(handle).state, "cancelled")
            self.assertEqual(answer_of(handle).status, "cancelled")

    def test_a_stopped_account_asks_nothing_more(self):
        handle = accept_one(queued(self.alice, "two", self.first))
        end(self.first)
        self.alice.is_active = False
        self.alice.save()
        self.assertIsNone(self.promoted())
        self.assertEqual(run_of(handle).state, "cancelled")

    def test_cancelling_ends_it_at_once_and_once(self):
        handle = accept_one(queued(self.alice, "two", self.first))
        self.assertTrue(services.request_cancel(handle.run_id))
        run = run_of(handle)
        self.assertEqual((run.state, run.request, run.error_code), ("cancelled", None, ""))
        self.assertIsNotNone(run.finished_at)
        self.assertFalse(services.request_cancel(handle.run_id))
        self.assertFalse(services.request_cancel(self.first.run_id))
        self.assertIsNotNone(run_of(self.first).cancel_requested_at)
        end(self.first)
        self.assertIsNone(self.promoted())

    def test_a_deleted_conversation_takes_it_along(self):
        handle = accept_one(queued(self.alice, "two", self.first))
        delete_conversation(conversation=Conversation.objects.get(runs=self.first.run_id))
        self.assertFalse(Run.objects.filter(pk__in=[self.first.run_id, handle.run_id]).exists())
        self.assertEqual(queueing.promote_left_behind(), [])

    def test_a_deleted_question_frees_its_place_at_once(self):
        handle, other = (accept_one(queued(self.alice, text, self.first)) for text in ("two", "three"))
        assert handle.question_id is not None
        with self.captureOnCommitCallbacks(execute=True):
            delete_message(message=Message.objects.get(pk=handle.question_id))
        self.assertEqual((run_of(handle).state, run_of(other).state), ("cancelled", "queued"))

    def test_a_process_that_is_about_to_end_begins_nothing(self):
        handle = accept_one(queued(self.alice, "two", self.first))
        end(self.first)
        assert self.first.conversation_id is not None
        ended = [self.first.conversation_id]
        with mock.patch.object(queueing, "_paused", True):
            self.assertEqual((queueing.waiting_in(ended)(), queueing.promote_left_behind()), ([], []))
        self.assertEqual(len(queueing.waiting_in(ended)()), 1)
        self.assertEqual(run_of(handle).state, "queued")
        self.assertEqual([each.run_id for each in queueing.promote_left_behind()], [handle.run_id])

    def test_a_deleted_account_takes_it_along(self):
        handle = accept_one(queued(self.alice, "two", self.first))
        delete_user(user=self.alice)
        self.assertFalse(Run.objects.filter(pk__in=[self.first.run_id, handle.run_id]).exists())

    def test_the_sweep_leaves_alone_what_waits_for_a_running_answer(self):
        accept_one(question(self.alice, "not kept", store=False))
        accept_one(queued(self.alice, "two", self.first))
        self.assertEqual(queueing.promote_left_behind(), [])

    def test_the_sweep_takes_no_more_than_it_is_told(self):
        others = [accept_one(question(self.alice, f"talk {n}")) for n in range(3)]
        for other in others:
            accept_one(queued(self.alice, "two", other))
            end(other)
        self.assertEqual(len(queueing.promote_left_behind(2)), 2)
        self.assertEqual(len(queueing.promote_left_behind(2)), 1)


class OrderTest(CommittedTestCase):
    def test_three_are_answered_in_order_and_their_readers_wait(self):
        async def test():
            first = await services.submit(question(self.alice, "word " * 30))
            handles = [await services.submit(queued(self.alice, f"number {n}", first)) for n in range(3)]
            self.assertEqual([each.queued for each in handles], [True] * 3)
            told = await asyncio.gather(*(follow(each, idle=0.05) for each in (first, *handles)))
            return [first, *handles], told

        with self.settings(ECHO_DELAY=0.005):
            handles, told = self.in_loop(test)
        self.assertEqual([[each.status for each in endings(events)] for events in told], [["complete"]] * 4)
        runs = [run_of(each) for each in handles]
        for before, after in zip(runs, runs[1:], strict=False):
            assert before.finished_at is not None and after.first_token_at is not None
            self.assertLessEqual(before.finished_at, after.first_token_at)
        for handle, events in zip(handles, told, strict=True):
            self.assertEqual(answer_of(handle).content, text_of(events))
        self.assertIn("number 2", texts_of(handles[0].conversation_id)[-1])

    def test_one_that_fails_or_is_stopped_lets_the_next_one_begin(self):
        async def test():
            first = await services.submit(question(self.alice, "word " * 400))
            failing = await services.submit(queued(self.alice, "two", first, model="allowed-until-now"))
            stopped = await services.submit(queued(self.alice, "three", first))
            last = await services.submit(queued(self.alice, "four", first))
            with self.settings(MODELS_ALLOWED={"*": ["echo"]}):
                await services.cancel(stopped.run_id)
                await services.cancel(first.run_id)
                return [await wait_for_end(handle.run_id) for handle in (first, failing, stopped, last)]

        with self.settings(ECHO_DELAY=0.005):
            told = self.in_loop(test)
        self.assertEqual([each.status for each in told], ["cancelled", "failed", "cancelled", "complete"])
        self.assertEqual((told[1].error_code, told[1].http_status), ("model_not_allowed", 403))


class InterruptTest(CommittedTestCase):
    def interrupting(self, text: str, first: RunHandle, **fields: Any) -> RunRequest:
        return question(self.alice, text, conversation_id=first.conversation_id, when_busy=WhenBusy.INTERRUPT, **fields)

    def test_the_answer_is_stopped_and_keeps_its_text_and_what_waits_is_not_asked(self):
        async def test():
            first = await services.submit(question(self.alice, "word " * 400))
            waiting = await services.submit(queued(self.alice, "two", first))
            while not await in_database_thread(lambda: run_of(first).chunks.exists()):
                await asyncio.sleep(0.01)
            handle = await interrupting.submit(self.interrupting("Rather this", first))
            self.assertEqual((await wait_for_end(handle.run_id)).status, "complete")
            return first, waiting, handle

        with self.settings(ECHO_DELAY=0.005):
            first, waiting, handle = self.in_loop(test)
        self.assertEqual([run_of(each).state for each in (first, waiting, handle)], ["cancelled"] * 2 + ["complete"])
        said = texts_of(first.conversation_id)
        self.assertEqual((said[2], said[3], said[4]), ("two", "", "Rather this"))
        self.assertTrue(said[1] and said[1] != said[5])
        self.assertEqual(answer_of(first).content, said[1])

    def test_many_at_once_never_fail(self):
        async def test():
            first = await services.submit(question(self.alice, "word " * 400))
            asks = (interrupting.submit(self.interrupting(f"number {n}", first)) for n in range(5))
            handles = await asyncio.gather(*asks)
            return [(await wait_for_end(each.run_id)).status for each in handles]

        with self.settings(ECHO_DELAY=0.005):
            statuses = self.in_loop(test)
        self.assertEqual((len(statuses), set(statuses) - {"complete", "cancelled"}), (5, set()))
        self.assertGreaterEqual(statuses.count("complete"), 1)

    def test_the_same_key_joins_its_own_run_and_stops_nothing(self):
        async def test():
            first = await services.submit(question(self.alice, "word " * 400))
            ask = self.interrupting("word " * 30, first, idempotency_key="k", fingerprint="f")
            handles = [await interrupting.submit(ask) for _ in range(2)]
            self.assertEqual([each.attached for each in handles], [False, True])
            self.assertEqual(handles[0].run_id, handles[1].run_id)
            self.assertEqual((await wait_for_end(handles[0].run_id)).status, "complete")

        with self.settings(ECHO_DELAY=0.002):
            self.in_loop(test)


class ProcessesTest(ServiceTestCase):
    """One more process, which is interrupted by the shared one and then dies."""

    def ask(self, url: str, content: str, model: str, to: str | None = None, **fields: Any) -> httpx2.Response:
        path = f"{BASE}/{to}/messages/stream" if to else f"{BASE}/stream"
        body = {"content": content, "model": model, **fields}
        with self.alice.http.stream("POST", f"{url}{path}", json=body) as response:
            for line in response.iter_lines():
                if "ai_chunk" in line or fields.get("when_busy") == "queue":
                    break
        return response

    def test_interrupted_from_another_process_and_answered_after_its_death(self):
        other = Service().start()
        self.addCleanup(other.stop)
        first = self.ask(other.url, "Begin", "fake/slow:20ms:2000")
        talk, run = first.headers["x-conversation-id"], first.headers["x-run-id"]
        second = self.ask(self.service.url, "Rather this", "fake/ok", talk, when_busy="interrupt")
        stopped = Run.objects.select_related("message").get(pk=run)
        assert stopped.message is not None
        self.assertEqual((stopped.state, stopped.message.status), ("cancelled", "cancelled"))
        self.assertTrue(stopped.message.content.startswith("token"))
        wait_until(lambda: Run.objects.get(pk=second.headers["x-run-id"]).state == "complete", what="the answer")

        held = self.ask(other.url, "Hold on", "fake/slow:20ms:2000", talk)
        waiting = [
            self.ask(other.url, text, "fake/echo-body", talk, when_busy="queue").headers["x-run-id"]
            for text in ("And one", "And two")
        ]
        refused = self.bob.http.post(f"{BASE}/{talk}/messages", json={"content": "x", "when_busy": "queue"})
        self.assertEqual(refused.status_code, 404)
        self.assertEqual([Run.objects.get(pk=pk).state for pk in waiting], ["queued"] * 2)
        other.kill()
        # A lease, which a process on this host need not wait for, and a sweep.
        wait_until(lambda: Run.objects.get(pk=waiting[1]).state == "complete", timeout=15, what="the last answer")
        self.assertEqual(Run.objects.get(pk=held.headers["x-run-id"]).state, "interrupted")
        sent = Message.objects.get(run=uuid.UUID(waiting[1])).content
        for text in ("Begin", "Rather this", "Hold on", "And one"):
            self.assertIn(text, sent)
        self.assertEqual(invariants([self.alice.user]), [])
