"""Which messages belong to the shown branch."""

from __future__ import annotations

import uuid

from django.test import TestCase

from accounts.services import register_user
from conversations.branches import branch, branch_ids
from conversations.models import Message
from conversations.services import append_message, edit_message, show_branch, start_conversation


class BranchTest(TestCase):
    def setUp(self):
        self.alice = register_user(username="alice")
        self.talk = start_conversation(owner_id=self.alice.pk)
        self.one = append_message(conversation=self.talk, role="user", content="one")
        self.two = append_message(conversation=self.talk, role="assistant", content="two")
        self.three = append_message(conversation=self.talk, role="user", content="three")

    def texts(self, leaf: uuid.UUID | None) -> list[str]:
        return [message.content for message in branch(self.talk.pk, leaf)]

    def test_a_branch_is_told_from_the_beginning(self):
        self.assertEqual(self.texts(self.three.pk), ["one", "two", "three"])
        self.assertEqual(self.texts(self.two.pk), ["one", "two"])

    def test_nothing_said_is_nothing_shown(self):
        self.assertEqual(self.texts(None), [])

    def test_an_edit_leaves_both_branches_readable(self):
        other = edit_message(message=self.two, content="deux")
        self.assertEqual(self.texts(other.pk), ["one", "deux"])
        self.assertEqual(self.texts(self.three.pk), ["one", "two", "three"])
        self.talk.refresh_from_db()
        self.assertEqual(self.talk.head_id, other.pk)

    def test_the_other_branch_can_be_shown_again(self):
        edit_message(message=self.two, content="deux")
        show_branch(conversation=self.talk, leaf=self.three)
        self.talk.refresh_from_db()
        self.assertEqual(self.texts(self.talk.head_id), ["one", "two", "three"])

    def test_a_leaf_of_another_conversation_shows_nothing(self):
        other = start_conversation(owner_id=self.alice.pk)
        stranger = append_message(conversation=other, role="user", content="elsewhere")
        self.assertEqual(branch_ids(self.talk.pk, stranger.pk), [])
        self.assertEqual(branch_ids(self.talk.pk, uuid.uuid4()), [])

    def test_a_ring_ends(self):
        Message.objects.filter(pk=self.one.pk).update(parent=self.three)
        self.assertLessEqual(len(branch_ids(self.talk.pk, self.three.pk)), 4)

    def test_a_long_branch_costs_two_queries(self):
        for number in range(50):
            append_message(conversation=self.talk, role="user", content=str(number))
        self.talk.refresh_from_db()
        with self.assertNumQueries(2):
            self.assertEqual(len(self.texts(self.talk.head_id)), 53)
