"""Words are found as they stand, in any case, and only among what is the caller's."""

from __future__ import annotations

from django.test import TestCase

from accounts.principal import Principal
from accounts.services import register_user
from conversations.services import append_message, start_conversation
from search.queries import search_messages, snippet


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
        return sorted(message.content for message in search_messages(who, sought))

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
