"""A batch of questions: which are stored, which are refused, and that they do not affect each other."""

from __future__ import annotations

import uuid

from django.test import TestCase, override_settings

from accounts.models import User
from accounts.services import guest_user
from completions.exceptions import (
    ConversationBusy,
    IdempotencyMismatch,
    InvalidRequest,
    TooManyRuns,
    UnknownConversation,
)
from completions.models import IdempotencyKey, Run
from completions.run_requests import RunHandle, title_from
from completions.tests.asking import accept_all, accept_one, assistant_says, question, run_of, somebody, user_says
from completions.types import Wire
from conversations.models import Conversation, Message
from conversations.services import append_message, start_conversation

NO_LIMITS = override_settings(
    LIMIT_RUNS_PER_USER=0, LIMIT_RUNS_PER_GUEST=0, LIMIT_RUNS_PER_IP=0, LIMIT_RUN_STARTS_PER_MINUTE=0
)


@NO_LIMITS
class AcceptTest(TestCase):
    def setUp(self):
        self.alice, self.bob = somebody("alice"), somebody("bob")

    def test_question_answer_and_run_appear_together(self):
        handle = accept_one(question(self.alice, "Hi"))
        asked, answer = Message.objects.filter(conversation=handle.conversation_id).oldest_first()
        self.assertEqual((asked.role, asked.content, asked.status, asked.position), ("user", "Hi", "complete", 1))
        self.assertEqual(
            (answer.role, answer.content, answer.status, answer.position), ("assistant", "", "in_progress", 2)
        )
        self.assertEqual(answer.parent_id, asked.pk)
        run = run_of(handle)
        self.assertEqual(
            (run.state, run.message_id, run.conversation_id), ("running", answer.pk, handle.conversation_id)
        )
        talk = Conversation.objects.get(runs=handle.run_id)
        self.assertEqual(
            (talk.head_id, talk.next_position, talk.owner_id, talk.title), (answer.pk, 3, self.alice.pk, "Hi")
        )

    def test_what_is_not_to_be_kept_is_a_run_and_nothing_else(self):
        handle = accept_one(question(self.alice, "secret", store=False, threaded=True))
        self.assertEqual((handle.conversation_id, handle.message_id), (None, None))
        self.assertFalse(Conversation.objects.exists() or Message.objects.exists())
        self.assertIsNone(run_of(handle).message_id)

    def test_a_conversation_is_continued_after_what_it_shows(self):
        first = accept_one(question(self.alice, "one"))
        Run.objects.update(state="complete")
        second = accept_one(question(self.alice, "two", conversation_id=first.conversation_id))
        asked = Message.objects.get(children=second.message_id)
        self.assertEqual((asked.parent_id, asked.position), (first.message_id, 3))
        self.assertEqual(second.conversation_id, first.conversation_id)

    def test_an_answer_can_be_asked_for_again_beside_the_first(self):
        first = accept_one(question(self.alice, "one"))
        Run.objects.update(state="complete")
        again = accept_one(question(self.alice, conversation_id=first.conversation_id, parent_id=first.question_id))
        self.assertEqual(again.question_id, first.question_id)
        self.assertEqual(Message.objects.get(run=again.run_id).parent_id, first.question_id)

    def test_a_foreign_conversation_is_as_unknown_as_none(self):
        theirs = accept_one(question(self.bob, "mine"))
        Run.objects.update(state="complete")
        told = [
            str(each)
            for each in accept_all(
                question(self.alice, "x", conversation_id=theirs.conversation_id),
                question(self.alice, "x", conversation_id=uuid.uuid4()),
            )
        ]
        self.assertEqual(told[0], told[1])
        self.assertEqual(Message.objects.count(), 2)

    def test_a_parent_in_another_conversation_is_unknown(self):
        mine, other = accept_one(question(self.alice, "mine")), accept_one(question(self.alice, "other"))
        Run.objects.update(state="complete")
        [refused] = accept_all(
            question(self.alice, "x", conversation_id=mine.conversation_id, parent_id=other.question_id)
        )
        self.assertIsInstance(refused, UnknownConversation)

    def test_guests_reach_what_guests_made_and_nothing_else(self):
        guest = guest_user()
        made = User.objects.create(username="made by a guest", guest_made=True)
        open_talk = start_conversation(owner_id=made.pk)
        closed_talk = start_conversation(owner_id=self.alice.pk)
        refused, handle = accept_all(
            question(guest, "x", conversation_id=closed_talk.pk), question(guest, "x", conversation_id=open_talk.pk)
        )
        self.assertIsInstance(refused, UnknownConversation)
        self.assertIsInstance(handle, RunHandle)

    def test_a_busy_conversation_refuses_and_keeps_what_it_has(self):
        first = accept_one(question(self.alice, "one"))
        [refused] = accept_all(question(self.alice, "two", conversation_id=first.conversation_id))
        self.assertIsInstance(refused, ConversationBusy)
        self.assertEqual(Message.objects.filter(conversation=first.conversation_id).count(), 2)

    def test_of_two_questions_to_one_conversation_in_a_batch_one_is_accepted(self):
        talk = start_conversation(owner_id=self.alice.pk)
        results = accept_all(
            question(self.alice, "one", conversation_id=talk.pk), question(self.alice, "two", conversation_id=talk.pk)
        )
        self.assertEqual(sorted(type(each).__name__ for each in results), ["ConversationBusy", "RunHandle"])
        self.assertEqual(Message.objects.of(talk.pk).count(), 2)

    def test_two_that_are_not_exclusive_share_a_conversation_in_one_batch(self):
        talk = start_conversation(owner_id=self.alice.pk)
        results = accept_all(
            *(question(self.alice, text, conversation_id=talk.pk, exclusive=False) for text in ("one", "two"))
        )
        self.assertTrue(all(isinstance(each, RunHandle) for each in results))
        self.assertEqual(sorted(Message.objects.of(talk.pk).values_list("position", flat=True)), [1, 2, 3, 4])
        talk.refresh_from_db()
        self.assertEqual(talk.next_position, 5)

    @override_settings(LIMIT_MESSAGES_PER_CONVERSATION=4)
    def test_a_full_conversation_refuses(self):
        talk = start_conversation(owner_id=self.alice.pk)
        for text in ("one", "two"):
            append_message(conversation=talk, role="user", content=text)
        accept_one(question(self.alice, "three", conversation_id=talk.pk))
        Run.objects.update(state="complete")
        [refused] = accept_all(question(self.alice, "four", conversation_id=talk.pk))
        self.assertIsInstance(refused, InvalidRequest)
        self.assertIn("4 messages (LIMIT_MESSAGES_PER_CONVERSATION)", str(refused))

    def test_the_refused_leave_the_accepted_alone_and_keep_their_order(self):
        theirs = start_conversation(owner_id=self.bob.pk)
        results = accept_all(
            question(self.alice, "good"),
            question(self.alice, "bad", conversation_id=theirs.pk),
            question(self.bob, "fine", conversation_id=theirs.pk),
        )
        self.assertEqual([type(each).__name__ for each in results], ["RunHandle", "UnknownConversation", "RunHandle"])
        self.assertEqual(set(Message.objects.filter(role="user").values_list("content", flat=True)), {"good", "fine"})


@NO_LIMITS
class IdempotencyTest(TestCase):
    def setUp(self):
        self.alice, self.bob = somebody("alice"), somebody("bob")

    def keyed(self, user: User, fingerprint: str = "f", key: str = "k", **fields):
        return question(user, "Hi", idempotency_key=key, fingerprint=fingerprint, **fields)

    def test_the_same_key_is_the_same_run(self):
        first, again = accept_one(self.keyed(self.alice)), accept_one(self.keyed(self.alice))
        self.assertEqual((again.run_id, again.message_id), (first.run_id, first.message_id))
        self.assertEqual(again.created_at, first.created_at)
        self.assertEqual((first.attached, again.attached), (False, True))
        self.assertEqual(Run.objects.count(), 1)

    def test_duplicates_in_one_batch_are_one_run(self):
        results = accept_all(*(self.keyed(self.alice) for _ in range(5)))
        self.assertEqual(len({each.run_id for each in results if isinstance(each, RunHandle)}), 1)
        self.assertEqual(sum(not each.attached for each in results if isinstance(each, RunHandle)), 1)
        self.assertEqual((Run.objects.count(), IdempotencyKey.objects.count(), Message.objects.count()), (1, 1, 2))

    def test_another_request_under_the_same_key_is_refused(self):
        accept_one(self.keyed(self.alice))
        [refused] = accept_all(self.keyed(self.alice, fingerprint="other"))
        self.assertIsInstance(refused, IdempotencyMismatch)
        first, second = accept_all(self.keyed(self.bob), self.keyed(self.bob, fingerprint="other"))
        self.assertIsInstance(first, RunHandle)
        self.assertIsInstance(second, IdempotencyMismatch)

    def test_another_users_key_is_another_key(self):
        first, second = accept_all(self.keyed(self.alice), self.keyed(self.bob, fingerprint="other"))
        assert isinstance(first, RunHandle) and isinstance(second, RunHandle)
        self.assertNotEqual(first.run_id, second.run_id)

    def test_a_refused_request_does_not_use_up_its_key(self):
        [refused] = accept_all(self.keyed(self.alice, conversation_id=uuid.uuid4()))
        self.assertIsInstance(refused, UnknownConversation)
        self.assertFalse(accept_one(self.keyed(self.alice)).attached)

    def test_a_repeated_request_is_served_even_when_no_more_runs_are_admitted(self):
        with override_settings(LIMIT_RUNS_PER_USER=1):
            first = accept_one(self.keyed(self.alice))
            self.assertEqual(accept_one(self.keyed(self.alice)).run_id, first.run_id)
            [refused] = accept_all(question(self.alice, "another"))
        self.assertIsInstance(refused, TooManyRuns)


class TitleTest(TestCase):
    def test_the_title_is_what_the_user_said_first(self):
        system = {"role": "system", "content": "Be brief"}
        parts = {"role": "user", "content": [{"type": "text", "text": "From  parts"}]}
        self.assertEqual(title_from([system, user_says(" two\n words "), user_says("later")]), "two words")
        self.assertEqual(title_from([parts]), "From parts")
        self.assertEqual(title_from([system, assistant_says("x")]), "")
        long = title_from([user_says("word " * 100)])
        self.assertTrue(len(long) <= 80 and long.endswith("…"))

    def test_a_title_has_no_markdown(self):
        for said, title in (
            ("# Plan\n\n- **first** `ls -l`\n> quoted", "Plan first ls -l quoted"),
            ("```python\nx = snake_case * 2 ** 3\n```", "x = snake_case * 2 ** 3"),
            ("3 * 4 - 5 > 6 #7 a_b", "3 * 4 - 5 > 6 #7 a_b"),
            ("#hashtag -5 *x*", "#hashtag -5 *x*"),
            ("x**2 + y**2", "x**2 + y**2"),
            ("```", "```"),
        ):
            with self.subTest(said):
                self.assertEqual(title_from([user_says(said)]), title)

    def test_a_title_skips_what_is_an_element_of_markup_only(self):
        context = "\n<environment_context os='linux'>\n  <cwd>/home</cwd>\n</environment_context>\n"
        rules = "<user_instructions>Be brief</user_instructions>"
        picture = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}

        def parts(*content: Wire) -> Wire:
            return {"role": "user", "content": list(content)}

        for sent, title in (
            ([user_says(context), user_says(rules), user_says("Mend the tests")], "Mend the tests"),
            ([parts({"type": "text", "text": context}, {"type": "text", "text": "Mend it"})], "Mend it"),
            ([parts({"type": "text", "text": context}, picture), user_says("What is it?")], "What is it?"),
            ([user_says(rules), assistant_says("Yes")], rules),
            ([user_says("<b>Bold</b> and <b>bolder</b>")], "<b>Bold</b> and <b>bolder</b>"),
            ([user_says("<a>unclosed"), user_says("later")], "<a>unclosed"),
            ([user_says("x < y and y > z"), user_says("later")], "x < y and y > z"),
            ([user_says("<a>"), user_says("later")], "<a>"),
            ([parts(picture)], ""),
        ):
            with self.subTest(title):
                self.assertEqual(title_from(sent), title)
