"""Words are found as they stand, in any case, and only among what is the caller's."""

from __future__ import annotations

from django.test import TestCase

from accounts.principal import Principal
from accounts.services import register_user
from conversations.services import append_message, edit_message, start_conversation
from search.queries import Filters, InvalidCursor, Mode, search_everybody, search_messages, snippet


class SearchTest(TestCase):
    def setUp(self) -> None:
        self.alice, self.bob = (self.make(name) for name in ("alice", "bob"))

    def make(self, name: str) -> Principal:
        user = register_user(username=name)
        return Principal(user_id=user.pk, username=name)

    def say(self, who: Principal, content: str) -> None:
        conversation = start_conversation(owner_id=who.user_id)
        append_message(conversation=conversation, role="user", content=content)

    def found(self, who: Principal, sought: str) -> list[str]:
        return sorted(hit.message.content for hit in search_messages(who, sought).hits)

    def test_finds_words_in_any_case(self):
        self.say(self.alice, "The Café in Zürich was closed")
        for sought in ("café", "CAFÉ", "zürich", "was closed"):
            with self.subTest(sought):
                self.assertEqual(self.found(self.alice, sought), ["The Café in Zürich was closed"])

    def test_never_finds_what_another_said(self):
        self.say(self.alice, "the secret recipe")
        self.say(self.bob, "no recipe here")
        self.assertEqual(self.found(self.bob, "recipe"), ["no recipe here"])

    def test_wildcards_are_letters(self):
        self.say(self.alice, "100% sure_thing")
        self.say(self.alice, "100 sure things")
        self.assertEqual(self.found(self.alice, "%"), ["100% sure_thing"])
        self.assertEqual(self.found(self.alice, "sure_"), ["100% sure_thing"])

    def test_a_snippet_shows_what_was_found(self):
        content = "x" * 500 + "needle" + "y" * 500
        self.assertIn("needle", snippet(content, "NEEDLE"))
        self.assertLess(len(snippet(content, "needle")), 200)

    def test_says_what_answered_and_pages_without_repeating(self):
        for number in range(5):
            self.say(self.alice, f"whale {number}")
        first = search_messages(self.alice, "whale", limit=3)
        self.assertEqual((first.asked, first.mode), (Mode.HYBRID, Mode.TEXT))
        self.assertTrue(first.why)
        rest = search_messages(self.alice, "whale", limit=3, cursor=first.next_cursor)
        self.assertEqual(len({hit.message.pk for hit in (*first.hits, *rest.hits)}), 5)
        self.assertEqual(rest.next_cursor, "")
        for cursor in ("x", first.next_cursor + "x", first.next_cursor[::-1], "\x00", "é" * 500):
            with self.subTest(cursor), self.assertRaises(InvalidCursor):
                search_messages(self.alice, "whale", cursor=cursor)
        for who, sought in ((self.bob, "whale"), (self.alice, "fish")):
            with self.assertRaises(InvalidCursor):
                search_messages(who, sought, cursor=first.next_cursor)

    def test_a_hit_knows_its_neighbours_and_whether_it_is_shown(self):
        conversation = start_conversation(owner_id=self.alice.user_id)
        asked = append_message(conversation=conversation, role="user", content="Where do whales live?")
        append_message(conversation=conversation, role="assistant", content="In the sea.")
        edit_message(message=asked, content="Where do whales sleep?")
        shown = {hit.message.content: hit for hit in search_messages(self.alice, "whales").hits}
        self.assertFalse(shown["Where do whales live?"].shown)
        after = shown["Where do whales live?"].after
        self.assertEqual(after and after.content, "In the sea.")
        self.assertTrue(shown["Where do whales sleep?"].shown)
        self.assertIsNone(shown["Where do whales sleep?"].after)
        [hit] = search_messages(self.alice, "sea", filters=Filters(roles=("assistant",))).hits
        self.assertEqual((hit.before, hit.matched), (asked, "words"))
        [(start, end)] = hit.highlights
        self.assertEqual(hit.snippet[start:end], "sea")

    def test_staff_search_everybody_or_one(self):
        self.say(self.alice, "a whale")
        self.say(self.bob, "two whales")
        self.assertEqual(len(search_everybody("whale").hits), 2)
        [hit] = search_everybody("whale", filters=Filters(owner_id=self.bob.user_id)).hits
        self.assertEqual(hit.message.content, "two whales")
