"""Where a call that resends its history is appended: after the last of its answers that its owner has stored."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from completions.exceptions import InvalidRequest
from completions.models import Chunk, Run
from completions.prefixes import _look_up
from completions.run_requests import HEAD, RunHandle
from completions.run_results import RunResult
from completions.services import interrupt
from completions.tests.asking import accept_all, accept_one, assistant_says, end_run, question, somebody, user_says
from completions.types import Wire
from conversations.branches import branch
from conversations.importers.values import ImportedConversation, ImportedMessage
from conversations.imports import import_conversations
from conversations.models import Conversation, Message
from conversations.services import LimitReached, append_message, start_conversation


def tool_says(text: str) -> Wire:
    return {"role": "tool", "content": text, "tool_call_id": "c1"}


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

    def finish(self, handle: RunHandle, answer: str, *, status: str = "complete", **fields: Any) -> None:
        outcome = RunResult(
            run_id=handle.run_id,
            message_id=handle.message_id,
            conversation_id=handle.conversation_id,
            status=status,
            content=answer,
            model="echo",
            upstream="echo",
            digest_before=handle.digest_before,
            **fields,
        )
        self.assertIsNotNone(end_run(outcome))

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

    def test_an_answer_the_client_rewrote_is_none_of_ours(self):
        first = self.call(self.alice, "one", answer="ONE")
        rewritten = self.call(self.alice, "one", assistant_says("uno"), "two", answer="TWO")
        self.assertNotEqual(rewritten.conversation_id, first.conversation_id)
        self.assertEqual(self.shown(rewritten), ["one", "uno", "two", "TWO"])
        # If the second answer is rewritten, the call goes on after the first one.
        second = self.call(self.alice, "one", assistant_says("ONE"), "two", answer="TWO")
        branch_off = self.call(self.alice, "one", assistant_says("ONE"), "two", assistant_says("dos"), "three")
        self.assertEqual(branch_off.conversation_id, second.conversation_id)
        self.assertEqual(self.shown(branch_off), ["one", "ONE", "two", "dos", "three", ""])

    def test_the_same_first_question_again_is_another_conversation(self):
        system = {"role": "system", "content": "Be brief"}
        for said in (["one"], [system, "one"], ["one", "two"]):
            with self.subTest(said):
                handles = [self.call(self.alice, *said, answer=answer) for answer in ("ONE", "UNO", "ONE")]
                self.assertEqual(len({handle.conversation_id for handle in handles}), 3)

    def test_the_same_later_question_again_is_a_second_answer_beside_the_first(self):
        first = self.call(self.alice, "one", answer="ONE")
        for rest in (["two"], [tool_says("1"), tool_says("2"), "and?"]):
            with self.subTest(rest):
                said = ["one", assistant_says("ONE"), *rest]
                second, again = self.call(self.alice, *said, answer="A"), self.call(self.alice, *said, answer="B")
                self.assertEqual(
                    (again.conversation_id, again.question_id), (first.conversation_id, second.question_id)
                )
                self.assertEqual([self.shown(each)[-1] for each in (second, again)], ["A", "B"])

    def test_of_equal_answers_the_newest_goes_on(self):
        self.call(self.alice, "one", answer="ONE")
        newest = self.call(self.alice, "one", answer="ONE")
        self.call(self.alice, "one", answer="UNO")
        more = self.call(self.alice, "one", assistant_says("ONE"), "two")
        self.assertEqual(more.conversation_id, newest.conversation_id)

    def test_made_up_examples_thread_nothing(self):
        examples: list[Wire | str] = ["2+2?", assistant_says("4"), "3+3?", assistant_says("6")]
        handles = [self.call(self.alice, *examples, "4+4?", answer="8") for _ in range(3)]
        self.assertEqual(len({handle.conversation_id for handle in handles}), 3)
        other = self.call(self.alice, *examples, "5+5?", answer="10")
        self.assertEqual(self.shown(other), ["2+2?", "4", "3+3?", "6", "5+5?", "10"])
        more = self.call(self.alice, *examples, "4+4?", assistant_says("8"), "and 5+5?")
        self.assertEqual(more.conversation_id, handles[-1].conversation_id)
        self.assertEqual(len(self.shown(more)), 8)

    def test_what_was_stored_by_hand_is_no_answer_of_ours(self):
        talk = start_conversation(owner_id=self.alice.pk)
        append_message(conversation=talk, role="user", content="one")
        append_message(conversation=talk, role="assistant", content="ONE", model="gpt-4o")
        other = self.call(self.alice, "one", assistant_says("ONE"), "two", answer="TWO")
        self.assertNotEqual(other.conversation_id, talk.pk)
        # But what a run answered there is, whoever asked.
        handle = accept_one(question(self.alice, "three", conversation_id=talk.pk, parent_id=HEAD))
        self.finish(handle, "THREE")
        more = self.call(self.alice, "one", assistant_says("ONE"), "three", assistant_says("THREE"), "four")
        self.assertEqual(more.conversation_id, talk.pk)

    def test_imported_answers_go_on(self):
        said = (
            ImportedMessage("1", None, "user", "one"),
            ImportedMessage("2", "1", "assistant", "ONE"),
            ImportedMessage("3", "2", "user", "two"),
        )
        import_conversations(owner=self.alice, conversations=[ImportedConversation("c", "Imported", said, head="3")])
        talk = Conversation.objects.get(owner=self.alice)
        more = self.call(self.alice, "one", assistant_says("ONE"), "two", answer="TWO")
        self.assertEqual((more.conversation_id, self.shown(more)), (talk.pk, ["one", "ONE", "two", "TWO"]))
        self.assertEqual(Message.objects.of(talk.pk).count(), 4)
        self.assertNotEqual(self.call(self.alice, "one", "two").conversation_id, talk.pk)

    def test_partial_answers_and_further_choices_go_on(self):
        for status in ("cancelled", "failed", "interrupted"):
            with self.subTest(status):
                first = self.call(self.alice, status)
                self.finish(first, "Half of", status=status)
                more = self.call(self.alice, status, assistant_says("Half of"), "Go on")
                self.assertEqual(self.shown(more), [status, "Half of", "Go on", ""])
                self.assertEqual(more.conversation_id, first.conversation_id)
        first = self.call(self.alice, "n")
        self.finish(first, "A", siblings=(assistant_says("B"),))
        more = self.call(self.alice, "n", assistant_says("B"), "Why?")
        self.assertEqual((more.conversation_id, self.shown(more)), (first.conversation_id, ["n", "B", "Why?", ""]))

    def test_an_interrupted_run_that_another_process_ended_goes_on(self):
        first = self.call(self.alice, "one")
        Chunk.objects.create(run_id=first.run_id, seq=1, end=4, text="Half")
        interrupt(Run.objects.get(pk=first.run_id))
        more = self.call(self.alice, "one", assistant_says("Half"), "two")
        self.assertEqual(more.conversation_id, first.conversation_id)

    def test_an_answer_that_the_client_begins(self):
        first = self.call(self.alice, "one", answer="ONE")
        prefill = self.call(self.alice, "one", assistant_says("ONE"), answer="and more")
        self.assertEqual(self.shown(prefill), ["one", "ONE", "and more"])
        self.assertEqual(prefill.conversation_id, first.conversation_id)
        made_up = self.call(self.alice, "one", assistant_says("O"), answer="NE")
        self.assertEqual(self.shown(made_up), ["one", "O", "NE"])
        self.assertNotEqual(made_up.conversation_id, first.conversation_id)

    def test_tool_calls_of_ours_go_on_with_their_result(self):
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        first = self.call(self.alice, "weather?")
        self.finish(first, "", extras={"tool_calls": [call]})
        for result, content in (("sunny", ""), ("rain", None)):
            answer = {"role": "assistant", "content": content, "tool_calls": [call]}
            more = self.call(self.alice, "weather?", answer, tool_says(result), answer=result)
            self.assertEqual(more.conversation_id, first.conversation_id)
            self.assertEqual(self.shown(more), ["weather?", "", result, result])

    def test_an_answer_without_a_question_goes_on(self):
        system = {"role": "system", "content": "Say something"}
        first = self.call(self.alice, system, answer="A")
        more = self.call(self.alice, system, assistant_says("A"), "and?")
        self.assertEqual(more.conversation_id, first.conversation_id)

    def test_thousands_of_equal_answers_cost_one_step_each(self):
        """Neither database walks over those that share a digest, nor over what calls made up."""
        self.call(self.alice, "one", answer="ONE")
        with CaptureQueriesContext(connection) as queries, connection.cursor() as cursor:
            _look_up(cursor, ["a", "b"])
        [query] = queries
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL enable_seqscan = off")
                cursor.execute(f"EXPLAIN {query['sql']}")
            else:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
        self.assertRegex(
            plan, "(?i)using (covering )?index message_answer|index (only )?scan backward using message_answer"
        )
        self.assertNotRegex(plan, "(?i)temp b-tree|sort")

    @override_settings(LIMIT_MESSAGES_PER_CONVERSATION=4)
    def test_where_a_conversation_is_full_a_new_one_begins_with_all_of_it(self):
        said: list[Wire] = []
        talks = []
        for number in range(8):
            said.append(user_says(f"{number}"))
            handle = self.call(self.alice, *said, answer=f"answer {number}")
            said.append(assistant_says(f"answer {number}"))
            self.assertEqual(self.shown(handle), [wire["content"] for wire in said])
            talks.append(handle.conversation_id)
        # What began as long as that has room again: not every call of a long history is stored as a whole.
        self.assertEqual([talks.index(talk) for talk in talks], [0, 0, 2, 2, 2, 2, 2, 2])
        # The same question again and again: answers beside each other until it is full, then conversations.
        talks = [self.call(self.alice, *said, "again").conversation_id for _ in range(30)]
        self.assertEqual(len(set(talks)), 1 + 30 - (2 * (len(said) + 1) - len(said) - 1))
        most = max(Message.objects.of(talk).count() for talk in talks if talk)
        self.assertLessEqual(most, 2 * (len(said) + 1))

    @override_settings(LIMIT_MESSAGES_PER_CONVERSATION=4)
    def test_two_in_one_batch_where_one_has_room(self):
        self.call(self.alice, "one", answer="ONE")
        history = (user_says("one"), assistant_says("ONE"))
        handles = accept_all(
            *(question(self.alice, *history, text, threaded=True, exclusive=False) for text in ("two", "deux"))
        )
        talks = [handle.conversation_id for handle in handles if isinstance(handle, RunHandle)]
        self.assertEqual(len(set(talks)), 2)
        self.assertEqual([self.shown(each) for each in handles if isinstance(each, RunHandle)][1][-2], "deux")

    @override_settings(LIMIT_MESSAGES_PER_CONVERSATION=8, LIMIT_NEW_MESSAGES_PER_REQUEST=4)
    def test_a_history_that_was_stored_is_not_refused_for_its_size_where_its_conversation_is_full(self):
        said: list[Wire] = []
        for number in range(8):
            said.append(user_says(f"{number}"))
            self.call(self.alice, *said, answer="Yes")
            said.append(assistant_says("Yes"))
        with self.assertRaisesRegex(InvalidRequest, "LIMIT_NEW_MESSAGES_PER_REQUEST"):
            self.call(self.bob, *said, "more")

    @override_settings(LIMIT_CONVERSATIONS_PER_USER=2)
    def test_stateless_calls_do_not_count_against_conversations_opened_by_hand(self):
        for _ in range(4):
            self.call(self.alice, "ping", answer="pong")
        start_conversation(owner_id=self.alice.pk)
        accept_one(question(self.alice, "by hand"))
        with self.assertRaises(LimitReached):
            start_conversation(owner_id=self.alice.pk)
        refused, stateless = accept_all(question(self.alice, "more"), question(self.alice, "ping", threaded=True))
        self.assertIsInstance(refused, InvalidRequest)
        self.assertIn("2 conversations (LIMIT_CONVERSATIONS_PER_USER)", str(refused))
        self.assertIsInstance(stateless, RunHandle)
        mine = Conversation.objects.filter(owner=self.alice)
        self.assertEqual((mine.count(), mine.opened_by_hand().count()), (7, 2))

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
        first = self.call(self.alice, "one", answer="ONE")
        second, again = (self.call(self.alice, "one", assistant_says("ONE"), "two") for _ in range(2))
        self.assertEqual({second.conversation_id, again.conversation_id}, {first.conversation_id})
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
