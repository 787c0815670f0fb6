"""Where a call that resends its history is appended: after the longest prefix that its owner has stored."""

from __future__ import annotations

from django.db import connection
from django.test import TestCase, override_settings

from accounts.models import User
from completions.models import Run
from completions.run_requests import RunHandle
from completions.run_results import RunResult, finish
from completions.tests.asking import accept_all, accept_one, assistant_says, question, somebody, user_says
from completions.types import Wire
from completions.worker_identity import worker_id
from conversations.branches import branch
from conversations.models import Conversation, Message


@override_settings(LIMIT_RUNS_PER_USER=0, LIMIT_RUNS_PER_IP=0, LIMIT_RUN_STARTS_PER_MINUTE=0)
class ThreadingTest(TestCase):
    def setUp(self):
        self.alice, self.bob = somebody("alice"), somebody("bob")

    def call(self, user: User, *messages: Wire | str, answer: str = "") -> RunHandle:
        """Ask and, if there is an answer, finish it."""
        handle = accept_one(question(user, *messages, threaded=True, exclusive=False))
        if answer:
            self.finish(handle, answer)
        return handle

    def finish(self, handle: RunHandle, answer: str) -> None:
        outcome = RunResult(
            run_id=handle.run_id,
            message_id=handle.message_id,
            conversation_id=handle.conversation_id,
            status="complete",
            content=answer,
            digest_before=handle.digest_before,
        )
        with connection.cursor() as cursor:
            self.assertEqual(finish(cursor, [outcome], worker=worker_id()), [True])

    def shown(self, handle: RunHandle) -> list[str]:
        assert handle.conversation_id is not None
        return [message.content for message in branch(handle.conversation_id, handle.message_id)]

    def test_a_resent_history_goes_on_where_it_ended(self):
        first = self.call(self.alice, "one", answer="ONE")
        second = self.call(self.alice, "one", assistant_says("ONE"), "two", answer="TWO")
        self.assertEqual(second.conversation_id, first.conversation_id)
        third = self.call(self.alice, "one", assistant_says("ONE"), "two", assistant_says("TWO"), "three")
        self.assertEqual(third.conversation_id, first.conversation_id)
        self.assertEqual(self.shown(third), ["one", "ONE", "two", "TWO", "three", ""])
        self.assertEqual(Message.objects.filter(conversation=first.conversation_id).count(), 6)

    def test_a_changed_past_makes_a_branch_and_keeps_the_old_one(self):
        self.call(self.alice, "one", answer="ONE")
        second = self.call(self.alice, "one", assistant_says("ONE"), "two", answer="TWO")
        changed = self.call(self.alice, "one", assistant_says("ONE"), "zwei", answer="ZWEI")
        self.assertEqual(changed.conversation_id, second.conversation_id)
        self.assertEqual(self.shown(changed), ["one", "ONE", "zwei", "ZWEI"])
        self.assertEqual(self.shown(second), ["one", "ONE", "two", "TWO"])

    def test_an_answer_the_client_rewrote_branches_off_before_it(self):
        first = self.call(self.alice, "one", answer="ONE")
        second = self.call(self.alice, "one", assistant_says("uno"), "two", answer="TWO")
        self.assertEqual(second.conversation_id, first.conversation_id)
        self.assertEqual(self.shown(second), ["one", "uno", "two", "TWO"])

    def test_the_same_question_again_is_a_second_answer_beside_the_first(self):
        first = self.call(self.alice, "one", answer="ONE")
        again = self.call(self.alice, "one", answer="UNO")
        self.assertEqual((again.conversation_id, again.question_id), (first.conversation_id, first.question_id))
        self.assertEqual((self.shown(first), self.shown(again)), (["one", "ONE"], ["one", "UNO"]))

    def test_the_same_instructions_alone_do_not_join_two_conversations(self):
        system = {"role": "system", "content": "Be brief"}
        first = self.call(self.alice, system, "one", answer="ONE")
        other = self.call(self.alice, system, "something else", answer="OTHER")
        self.assertNotEqual(other.conversation_id, first.conversation_id)
        self.assertEqual(self.shown(other), ["Be brief", "something else", "OTHER"])

    def test_another_owners_identical_messages_never_match(self):
        mine = self.call(self.alice, "one", answer="ONE")
        theirs = self.call(self.bob, "one", assistant_says("ONE"), "two")
        self.assertNotEqual(theirs.conversation_id, mine.conversation_id)
        self.assertEqual(Conversation.objects.get(runs=theirs.run_id).owner_id, self.bob.pk)
        self.assertEqual(Message.objects.filter(conversation=mine.conversation_id).count(), 2)

    def test_other_instructions_before_the_same_words_are_another_conversation(self):
        first = self.call(self.alice, {"role": "system", "content": "A"}, "one", answer="ONE")
        other = self.call(self.alice, {"role": "system", "content": "B"}, "one", answer="ONE")
        self.assertNotEqual(other.conversation_id, first.conversation_id)

    def test_messages_without_a_user_are_a_conversation_of_their_own(self):
        system = {"role": "system", "content": "Say something"}
        first, second = self.call(self.alice, system, answer="A"), self.call(self.alice, system, answer="B")
        self.assertNotEqual(first.conversation_id, second.conversation_id)

    def test_what_was_not_kept_is_not_found(self):
        accept_all(question(self.alice, "one", threaded=True, store=False))
        self.call(self.alice, "one")
        self.assertEqual(Conversation.objects.count(), 1)
        self.assertEqual(Message.objects.count(), 2)

    def test_a_text_part_is_the_same_as_its_text(self):
        first = self.call(self.alice, {"role": "user", "content": [{"type": "text", "text": "one"}]}, answer="ONE")
        second = self.call(self.alice, "one", assistant_says("ONE"), "two")
        self.assertEqual(second.conversation_id, first.conversation_id)

    def test_two_follow_ups_in_one_batch_are_two_branches(self):
        first = self.call(self.alice, "one", answer="ONE")
        history = (user_says("one"), assistant_says("ONE"))
        results = accept_all(
            *(question(self.alice, *history, text, threaded=True, exclusive=False) for text in ("two", "deux"))
        )
        self.assertEqual(len(results), 2)
        for each, text in zip(results, ("two", "deux"), strict=True):
            assert isinstance(each, RunHandle)
            self.assertEqual(each.conversation_id, first.conversation_id)
            self.assertEqual(self.shown(each), ["one", "ONE", text, ""])
        positions = Message.objects.filter(conversation=first.conversation_id).values_list("position", flat=True)
        self.assertEqual(sorted(positions), [1, 2, 3, 4, 5, 6])

    def test_a_running_answer_is_no_hindrance(self):
        first = self.call(self.alice, "one")
        again = self.call(self.alice, "one")
        self.assertEqual(again.conversation_id, first.conversation_id)
        self.assertEqual(Run.objects.running().count(), 2)

    def test_a_role_we_do_not_know_is_kept_as_it_was_sent(self):
        handle = self.call(self.alice, {"role": "critic", "content": "hm"}, "one")
        first = Message.objects.filter(conversation=handle.conversation_id).oldest_first()[0]
        self.assertEqual(first.as_wire(), {"role": "critic", "content": "hm"})

    def test_structured_messages_come_back_as_they_were_sent(self):
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        sent: list[Wire] = [
            user_says("weather?", name="alice"),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}],
            },
        ]
        handle = self.call(self.alice, *sent)
        assert handle.conversation_id is not None
        kept = [message.as_wire() for message in branch(handle.conversation_id, handle.question_id)]
        self.assertEqual(kept, sent)
