"""Writing: the results of appending, editing, deleting and resetting."""

from __future__ import annotations

from django.test import TestCase, override_settings

from accounts.services import register_user
from conversations import digests
from conversations.branches import branch
from conversations.models import Conversation, Message
from conversations.services import (
    Busy,
    LimitReached,
    append_message,
    delete_conversation,
    delete_message,
    edit_message,
    reset_conversation,
    start_conversation,
    update_conversation,
)
from conversations.signals import conversation_deleted, messages_changed


class WritingTest(TestCase):
    def setUp(self):
        self.alice = register_user(username="alice")
        self.talk = start_conversation(owner_id=self.alice.pk, title="Talk", metadata={"a": 1})

    def say(self, *texts: str) -> list[Message]:
        roles = ("user", "assistant")
        return [
            append_message(conversation=self.talk, role=roles[at % 2], content=text) for at, text in enumerate(texts)
        ]

    def shown(self) -> list[str]:
        self.talk.refresh_from_db()
        return [message.content for message in branch(self.talk.pk, self.talk.head_id)]

    def test_messages_are_numbered_from_one_and_hang_on_each_other(self):
        one, two, three = self.say("one", "two", "three")
        self.assertEqual([each.position for each in (one, two, three)], [1, 2, 3])
        self.assertEqual([each.parent_id for each in (one, two, three)], [None, one.pk, two.pk])
        self.assertEqual(self.shown(), ["one", "two", "three"])

    def test_a_message_carries_the_digest_of_all_before_it(self):
        messages = self.say("one", "two")
        chain = digests.chain(digests.root(self.alice.pk), [message.as_wire() for message in messages])
        self.assertEqual([message.digest for message in messages], chain)

    def test_an_edit_is_a_sibling_and_becomes_the_shown_branch(self):
        one, two, _ = self.say("one", "two", "three")
        other = edit_message(message=one, content="uno")
        self.assertEqual((other.parent_id, other.role, other.position), (None, "user", 4))
        self.assertEqual(self.shown(), ["uno"])
        self.assertEqual(Message.objects.get(pk=two.pk).parent_id, one.pk)
        self.assertEqual(Message.objects.get(pk=one.pk).content, "one")

    def test_deleting_in_the_middle_moves_the_children_up(self):
        one, two, three = self.say("one", "two", "three")
        delete_message(message=two)
        three.refresh_from_db()
        self.assertEqual(three.parent_id, one.pk)
        self.assertEqual(self.shown(), ["one", "three"])

    def test_deleting_the_first_message_leaves_its_children_as_roots(self):
        one, two, _ = self.say("one", "two", "three")
        delete_message(message=one)
        two.refresh_from_db()
        self.assertIsNone(two.parent_id)
        self.assertEqual(self.shown(), ["two", "three"])

    def test_deleting_the_last_message_shows_what_was_before_it(self):
        *_, three = self.say("one", "two", "three")
        delete_message(message=three)
        self.assertEqual(self.shown(), ["one", "two"])

    def test_deleting_the_only_message_shows_nothing(self):
        [one] = self.say("one")
        delete_message(message=one)
        self.assertEqual(self.shown(), [])

    def test_deleting_an_edited_first_message_shows_the_one_it_replaced(self):
        [one] = self.say("one")
        other = edit_message(message=one, content="uno")
        delete_message(message=other)
        self.assertEqual(self.shown(), ["one"])

    def test_a_number_is_never_given_twice(self):
        *_, three = self.say("one", "two", "three")
        delete_message(message=three)
        self.assertEqual(append_message(conversation=self.talk, role="user", content="four").position, 4)

    def test_a_message_that_is_being_written_cannot_be_deleted(self):
        [one] = self.say("one")
        Message.objects.filter(pk=one.pk).update(status=Message.Status.IN_PROGRESS)
        with self.assertRaises(Busy):
            delete_message(message=one)
        self.assertTrue(Message.objects.filter(pk=one.pk).exists())

    def test_deleting_twice_is_no_error(self):
        [one] = self.say("one")
        delete_message(message=Message.objects.get(pk=one.pk))
        delete_message(message=one)

    def test_a_reset_keeps_the_conversation_and_nothing_in_it(self):
        self.say("one", "two")
        with self.captureOnCommitCallbacks(execute=True):
            reset_conversation(conversation=self.talk)
        self.talk.refresh_from_db()
        self.assertEqual((self.talk.title, self.talk.head_id, self.talk.next_position), ("Talk", None, 1))
        self.assertFalse(Message.objects.of(self.talk.pk).exists())
        self.assertEqual(self.say("again")[0].position, 1)

    def test_deleting_a_conversation_leaves_nothing_and_tells_after_the_commit(self):
        self.say("one", "two")
        told: list[object] = []

        def listen(sender, conversation_id, **kwargs):
            told.append(conversation_id)

        conversation_deleted.connect(listen)
        self.addCleanup(conversation_deleted.disconnect, listen)
        with self.captureOnCommitCallbacks(execute=True):
            delete_conversation(conversation=self.talk)
            self.assertEqual(told, [])
        self.assertEqual(told, [self.talk.pk])
        self.assertFalse(Conversation.objects.exists() or Message.objects.exists())

    def test_every_change_of_messages_is_told(self):
        told: list[object] = []

        def listen(sender, conversation_id, **kwargs):
            told.append(conversation_id)

        messages_changed.connect(listen)
        self.addCleanup(messages_changed.disconnect, listen)
        with self.captureOnCommitCallbacks(execute=True):
            one, two = self.say("one", "two")
            edit_message(message=one, content="uno")
            delete_message(message=two)
            reset_conversation(conversation=self.talk)
        self.assertEqual(told, [self.talk.pk] * 5)

    def test_only_what_a_client_may_change_can_be_changed(self):
        update_conversation(conversation=self.talk, title="Other", metadata={"b": 2})
        self.talk.refresh_from_db()
        self.assertEqual((self.talk.title, self.talk.metadata), ("Other", {"b": 2}))
        for name in ("owner", "owner_id", "head", "next_position", "id", "created_at"):
            with self.assertRaises(TypeError):
                update_conversation(conversation=self.talk, **{name: None})


class LimitTest(TestCase):
    def setUp(self):
        self.alice = register_user(username="alice")
        self.bob = register_user(username="bob")

    @override_settings(LIMIT_CONVERSATIONS_PER_USER=2)
    def test_an_account_holds_so_many_conversations_and_not_one_more(self):
        for _ in range(2):
            start_conversation(owner_id=self.alice.pk)
        with self.assertRaisesRegex(LimitReached, r"2 conversations \(LIMIT_CONVERSATIONS_PER_USER\)"):
            start_conversation(owner_id=self.alice.pk)
        start_conversation(owner_id=self.bob.pk)

    @override_settings(LIMIT_MESSAGES_PER_CONVERSATION=2)
    def test_a_conversation_holds_so_many_messages_and_not_one_more(self):
        talk = start_conversation(owner_id=self.alice.pk)
        first = append_message(conversation=talk, role="user", content="one")
        append_message(conversation=talk, role="user", content="two")
        for write in (
            lambda: append_message(conversation=talk, role="user", content="three"),
            lambda: edit_message(message=first, content="uno"),
        ):
            with self.assertRaisesRegex(LimitReached, r"2 messages \(LIMIT_MESSAGES_PER_CONVERSATION\)"):
                write()
        self.assertEqual(Message.objects.count(), 2)

    @override_settings(LIMIT_MESSAGES_PER_CONVERSATION=0, LIMIT_CONVERSATIONS_PER_USER=0)
    def test_zero_is_no_limit(self):
        talk = start_conversation(owner_id=self.alice.pk)
        append_message(conversation=talk, role="user", content="one")

    def test_a_parent_of_another_conversation_is_not_one(self):
        mine = start_conversation(owner_id=self.alice.pk)
        theirs = start_conversation(owner_id=self.bob.pk)
        secret = append_message(conversation=theirs, role="user", content="secret")
        with self.assertRaises(Message.DoesNotExist):
            append_message(conversation=mine, role="user", content="x", parent_id=secret.pk)
        self.assertFalse(Message.objects.of(mine.pk).exists())
