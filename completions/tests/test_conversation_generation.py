"""What a conversation keeps for its answers is in each request that is asked in it, from the accept transaction on."""

from __future__ import annotations

from typing import Any

from django.test import TestCase, override_settings

from completions import queueing
from completions.conversation_generation import NOTHING, ConversationGeneration
from completions.exceptions import ParameterNotAllowed, UnknownConversation
from completions.models import Run
from completions.run_requests import RunHandle, WhenBusy
from completions.tests.asking import accept_all, accept_one, question, run_of, somebody
from conversations.models import Conversation

KEPT = {"instructions": "Be brief.", "temperature": 0.5, "max_tokens": 40}


class AcceptTest(TestCase):
    def setUp(self) -> None:
        self.alice, self.bob = somebody("alice"), somebody("bob")
        generation = ConversationGeneration("Be brief.", {"temperature": 0.5, "max_tokens": 40})
        self.first = accept_one(question(self.alice, "one", generation=generation))
        assert self.first.conversation_id is not None
        self.place: dict[str, Any] = {"conversation_id": self.first.conversation_id}

    def end_first(self) -> None:
        Run.objects.filter(pk=self.first.run_id).update(state="complete")

    def told(self, handle: RunHandle) -> tuple[str, dict[str, Any]]:
        self.assertEqual(run_of(handle).parameters, handle.request.parameters)
        return handle.request.instructions, dict(handle.request.parameters)

    def test_a_new_conversation_keeps_it_and_its_first_answer_has_it(self) -> None:
        self.assertEqual(Conversation.objects.get().generation, KEPT)
        self.assertEqual(self.told(self.first), ("Be brief.", {"temperature": 0.5, "max_tokens": 40}))

    def test_a_requests_own_come_first(self) -> None:
        self.end_first()
        own = {"temperature": 0, "max_completion_tokens": 9}
        handle = accept_one(question(self.alice, "two", parameters=own, instructions="Be long.", **self.place))
        self.assertEqual(self.told(handle), ("Be long.", own))

    def test_it_is_nobody_elses_and_no_other_conversations(self) -> None:
        with self.assertRaises(UnknownConversation):
            accept_one(question(self.bob, "two", **self.place))
        self.assertEqual(self.told(accept_one(question(self.alice, "elsewhere"))), ("", {}))
        self.assertIsNone(Conversation.objects.exclude(pk=self.place["conversation_id"]).get().generation)

    def test_a_question_that_waits_has_what_was_kept_when_it_was_asked(self) -> None:
        waiting = accept_one(question(self.alice, "two", when_busy=WhenBusy.QUEUE, **self.place))
        Conversation.objects.update(generation={"instructions": "Something else"})
        self.end_first()
        promoted = queueing.promote(self.place["conversation_id"])
        assert promoted is not None
        self.assertEqual(promoted.run_id, waiting.run_id)
        self.assertEqual(self.told(promoted), ("Be brief.", {"temperature": 0.5, "max_tokens": 40}))
        self.assertIsNone(run_of(waiting).request)

    def test_a_response_and_a_call_that_resends_its_history_say_everything(self) -> None:
        self.end_first()
        response = question(self.alice, "two", generation=NOTHING, **self.place)
        self.assertEqual(self.told(accept_one(response)), ("", {}))
        self.assertEqual(self.told(accept_one(question(self.alice, "one", threaded=True))), ("", {}))

    @override_settings(FORBIDDEN_PARAMETERS=["temperature"])
    def test_what_is_not_allowed_is_refused_and_nothing_is_stored(self) -> None:
        self.end_first()
        new = question(self.alice, "new", generation=ConversationGeneration("", {"temperature": 1}))
        results = accept_all(question(self.alice, "two", **self.place), new, question(self.alice, "fine"))
        self.assertEqual([isinstance(each, ParameterNotAllowed) for each in results], [True, True, False])
        self.assertEqual((Run.objects.count(), Conversation.objects.count()), (2, 2))

    def test_what_the_database_has_beyond_the_rules_is_left_out(self) -> None:
        self.end_first()
        wrong = {"instructions": ["x"], "n": 100, "tools": [], "temperature": 9, "top_p": 0.5}
        Conversation.objects.update(generation=wrong)
        self.assertEqual(self.told(accept_one(question(self.alice, "two", **self.place))), ("", {"top_p": 0.5}))
