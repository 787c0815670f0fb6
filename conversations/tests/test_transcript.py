"""A transcript shows one branch, lists the others, and finds the page of a message."""

from __future__ import annotations

import uuid

from django.test import TestCase

from accounts.services import register_user
from conversations import transcript
from conversations.models import Conversation, Message
from conversations.services import append_message, edit_message, start_conversation
from conversations.transcript import read_transcript


class TranscriptTest(TestCase):
    def setUp(self) -> None:
        self.talk = start_conversation(owner_id=register_user(username="alice").pk)

    def say(self, text: str, parent: Message | None = None) -> Message:
        return append_message(
            conversation=self.talk, role="user", content=text, parent_id=parent.pk if parent else None
        )

    def texts(self, **asked: object) -> list[str]:
        self.talk = Conversation.objects.get(pk=self.talk.pk)
        return [entry.message.content for entry in read_transcript(self.talk, **asked).entries]  # type: ignore[arg-type]

    def test_the_empty_conversation(self) -> None:
        read = read_transcript(self.talk)
        self.assertEqual((read.entries, read.pages, read.leaf, read.branches), ([], 1, None, 0))

    def test_branches_and_their_switcher(self) -> None:
        first = self.say("first")
        second = self.say("second")
        third = self.say("third")
        other = edit_message(message=second, content="second, otherwise")
        self.assertEqual(self.texts(), ["first", "second, otherwise"])
        self.assertEqual(self.texts(leaf=third.pk), ["first", "second", "third"])
        self.assertEqual(self.texts(sought=second.pk), ["first", "second", "third"])
        read = read_transcript(Conversation.objects.get(pk=self.talk.pk))
        entry = read.entries[1]
        self.assertEqual((entry.version, entry.versions, entry.previous, entry.next), (2, 2, third.pk, None))
        self.assertEqual((read.branches, read.shown, entry.previous_message), (2, True, second.pk))
        self.assertEqual(read_transcript(self.talk, leaf=third.pk).entries[1].next, other.pk)
        self.assertEqual(read.entries[0].message, first)

    def test_pages_and_the_page_of_a_message(self) -> None:
        said = [self.say(f"text {number}") for number in range(7)]
        before = transcript.PER_PAGE
        transcript.PER_PAGE = 3
        self.addCleanup(setattr, transcript, "PER_PAGE", before)
        self.assertEqual(self.texts(), ["text 0", "text 1", "text 2"])
        self.assertEqual(self.texts(page=3), ["text 6"])
        self.assertEqual(self.texts(page=99), ["text 6"])
        self.assertEqual(self.texts(sought=said[4].pk), ["text 3", "text 4", "text 5"])
        self.assertEqual(self.texts(sought=said[4].pk, page=1), ["text 0", "text 1", "text 2"])

    def test_ids_of_nothing_and_of_elsewhere_count_as_none(self) -> None:
        self.say("mine")
        elsewhere = start_conversation(owner_id=register_user(username="bob").pk)
        foreign = append_message(conversation=elsewhere, role="user", content="theirs")
        for pk in (uuid.uuid4(), foreign.pk):
            self.assertEqual(self.texts(sought=pk), ["mine"])
            self.assertEqual(self.texts(leaf=pk), ["mine"])

    def test_it_is_read_in_few_queries(self) -> None:
        for number in range(30):
            self.say(f"text {number}")
        talk = Conversation.objects.get(pk=self.talk.pk)
        with self.assertNumQueries(2):
            read_transcript(talk)
