"""Other users' messages do not change a user's results: neither hits, their number, order nor scores."""

from __future__ import annotations

from accounts.callers import Principal
from accounts.services import register_user
from search.backends import backend
from search.models import PARTITION_SHIFT, Entry, IndexPartition
from search.queries import Filters, Mode, search_messages
from search.tests.case import SearchTestCase, as_values

TEXTS = (
    "The white whale swims past the harbour",
    "Nobody believed the captain about the whale",
    "We had soup at the harbour",
    "A lighthouse and its keeper",
    "Soup again, and no captain",
)
QUESTIONS = (
    "white whale",
    "captain soup",
    '"the harbour"',
    "whale -captain",
    "keeper of the lighthouse",
    "nothing of it",
)


class TwinsTest(SearchTestCase):
    def answers(self) -> dict:
        return {
            (query, mode): as_values(search_messages(self.alice, query, mode=mode))
            for query in QUESTIONS
            for mode in Mode
        }

    def test_twins_of_ones_messages_change_nothing_not_even_a_digit(self):
        for text in TEXTS:
            self.say(self.alice, text)
        self.index()
        before = self.answers()
        self.assertTrue(any(before.values()))
        for who in (self.bob, self.guest):
            for _ in range(8):  # words become common for everybody except her
                self.talk(who, *TEXTS, title="whale captain")
        self.assertEqual(self.answers(), before)
        self.index()
        self.assertEqual(self.answers(), before)

    def test_what_is_not_indexed_yet_of_others_is_left_to_them(self):
        self.say(self.alice, "a whale")
        self.say(self.bob, "a whale")
        search_messages(self.alice, "whale")
        self.assertEqual(set(IndexPartition.objects.values_list("owner_id", flat=True)), {self.alice.user_id})

    def test_nobody_finds_what_another_said_by_any_filter(self):
        conversation, _ = self.talk(self.bob, "the secret recipe")
        self.index()
        for mode in Mode:
            for filters in (
                Filters(),
                Filters(conversation_id=conversation.pk),
                Filters(owner_id=self.bob.user_id),
                Filters(roles=("user",)),
            ):
                self.assertEqual(search_messages(self.alice, "secret recipe", mode=mode, filters=filters).hits, ())
                self.assertEqual(search_messages(self.guest, "secret recipe", mode=mode, filters=filters).hits, ())

    def test_guests_find_what_guests_made_and_nobody_else_does(self):
        other = register_user(username="guests-friend", guest_made=True)
        self.say(self.guest, "a whale of a guest")
        self.say(Principal(user_id=other.pk, username="x"), "another whale")
        self.assertEqual(len(search_messages(self.guest, "whale").hits), 2)
        self.assertEqual(search_messages(self.alice, "whale").hits, ())

    def test_an_account_that_guests_made_finds_its_own_by_its_key_whatever_other_guests_say(self):
        made = register_user(username="guests-friend", guest_made=True)
        friend = Principal(user_id=made.pk, username=made.username)
        self.talk(friend, *TEXTS)
        self.index()
        before = [as_values(search_messages(friend, query, mode=mode)) for query in QUESTIONS for mode in Mode]
        self.assertTrue(all(before[:3]))
        for _ in range(4):
            self.talk(self.guest, *TEXTS, title="whale captain")
        self.index()
        after = [as_values(search_messages(friend, query, mode=mode)) for query in QUESTIONS for mode in Mode]
        self.assertEqual(after, before)

    def test_no_two_partitions_share_a_posting_list(self):
        """The time of a search must not reveal how often other people use its words."""
        self.say(self.alice, "whale")
        self.say(self.bob, "whale")
        self.index()
        mine, theirs = (IndexPartition.objects.get(owner_id=who.user_id).pk for who in (self.alice, self.bob))
        self.assertEqual(Entry.objects.count(), 2)
        from search.analysis import term_of

        for partition in (mine, theirs):
            [rows] = backend().postings([[term_of(partition, "whale")]])
            self.assertEqual([int(each) >> PARTITION_SHIFT for each in rows["id"]], [partition])
