"""Hits, their order, and the syntax of queries."""

from __future__ import annotations

import datetime as dt

from django.test import override_settings
from django.utils import timezone

from conversations.models import Message
from conversations.services import append_message, edit_message, start_conversation, update_conversation
from search.embedders import loading
from search.queries import Filters, Hit, InvalidCursor, Mode, search_everybody, search_messages
from search.tests.case import SearchTestCase

HOSTILE = (
    *("%", "sure_", "whale*", '"', '""', '"unclosed whale', "-", "--", "- -", "-whale", 'a OR "b" AND ('),
    *("NEAR(a b)", "whale & ! | <-> :*", "'; DROP TABLE x", "\\", "^whale", "body:whale", "\x00", "𝕎𝕙"),
    *("the of and", " ", "x" * 5000),
)


class WordsTest(SearchTestCase):
    def test_words_are_found_at_once_in_any_case_accent_and_form(self):
        self.say(self.alice, "The Café in Zürich was closed while whales were swimming")
        for query in ("café", "CAFE", "zurich", "closed", "whale swims", "cafe\u0301"):
            with self.subTest(query):
                self.assertEqual(len(self.found(self.alice, query)), 1)

    @override_settings(SEARCH_LANGUAGE="german")
    def test_the_language_is_a_setting(self):
        self.say(self.alice, "Die Häuser am Meer")
        self.assertEqual(len(self.found(self.alice, "haus")), 1)

    def test_languages_without_spaces_are_found_by_parts(self):
        self.say(self.alice, "人工智能的历史")
        self.assertEqual(len(self.found(self.alice, "智能")), 1)
        self.assertEqual(self.found(self.alice, "天气"), [])

    def test_no_question_is_an_error(self):
        self.say(self.alice, "100% sure_thing: the whale")
        for query in HOSTILE:
            for mode in Mode:
                with self.subTest(query=query, mode=mode):
                    search_messages(self.alice, query, mode=mode)
        self.assertEqual(len(self.found(self.alice, "whale*")), 1)

    def test_phrases_are_demanded_and_words_excluded(self):
        for text in ("the white whale sinks the ship", "a white ship and a whale", "a whale alone"):
            self.say(self.alice, text)
        self.index()
        for mode in (Mode.TEXT, Mode.HYBRID):
            self.assertEqual(self.found(self.alice, '"white whale"', mode=mode), ["the white whale sinks the ship"])
            self.assertEqual(set(self.found(self.alice, "whale -ship", mode=mode)), {"a whale alone"})
            self.assertEqual(
                self.found(self.alice, 'whale -"white whale" -alone', mode=mode), ["a white ship and a whale"]
            )

    def test_an_answer_is_found_by_the_words_of_its_question(self):
        self.talk(self.alice, "Who won the regatta in Kiel?", "It was Maren, by two lengths.")
        for number in range(5):
            self.say(self.alice, f"something else {number}")
        self.assertEqual(self.found(self.alice, "regatta Kiel"), ["Who won the regatta in Kiel?"])
        self.index()
        self.assertEqual(
            self.found(self.alice, "regatta Kiel", limit=2),
            ["Who won the regatta in Kiel?", "It was Maren, by two lengths."],
        )

    def test_what_is_said_counts_more_than_what_stands_beside_it_and_rare_words_more_than_common_ones(self):
        self.talk(self.alice, "the harbour is full of boats", "boats are nice")
        self.talk(self.alice, "boats and more boats", "a lighthouse")
        self.assertEqual(self.found(self.alice, "boats lighthouse", limit=1), ["a lighthouse"])

    def test_a_hit_lifts_the_others_of_its_conversation(self):
        self.talk(self.alice, "a whale in the harbour", "aha", "and then", "so", "one harbour")
        self.talk(self.alice, "other harbour")
        self.index()
        expected = ["a whale in the harbour", "one harbour", "other harbour"]
        for mode in (Mode.TEXT, Mode.HYBRID):
            with self.subTest(mode=mode):
                found = self.found(self.alice, "whale harbour", mode=mode)
                self.assertEqual([each for each in found if each in expected], expected)

    def test_what_somebody_says_counts_more_than_what_is_said_of_them(self):
        conversation = start_conversation(owner_id=self.alice.user_id)
        append_message(conversation=conversation, role="user", content="there is soup", author="Ingrid")
        self.say(self.alice, "Ingrid ate soup")
        self.assertEqual(self.found(self.alice, "Ingrid soup"), ["there is soup", "Ingrid ate soup"])
        self.assertEqual(self.found(self.alice, "soup"), ["Ingrid ate soup", "there is soup"])

    def test_what_tells_counts_more_than_what_asks(self):
        for telling, asking in (
            ("the ferry leaves now", "the ferry leaves now?"),
            ("船今天开", "船今天开？"),
            ('"sure" to sail', 'sure to "sail?"'),
        ):
            self.say(self.alice, telling)
            self.say(self.alice, asking)
            with self.subTest(asking):
                query = telling.replace('"', "")
                self.assertEqual(self.found(self.alice, query, limit=2), [telling, asking])

    def test_who_said_it_when_and_under_which_title_is_found_too(self):
        conversation = start_conversation(owner_id=self.alice.user_id, title="Holiday plans")
        message = append_message(conversation=conversation, role="user", content="We take the ferry", author="Ingrid")
        Message.objects.filter(pk=message.pk).update(created_at=dt.datetime(2023, 5, 8, tzinfo=dt.UTC))
        for query in ("ingrid", "may 2023", "holiday"):
            with self.subTest(query):
                self.assertEqual(self.found(self.alice, query), ["We take the ferry"])
        update_conversation(conversation=conversation, title="Timetables")
        self.assertEqual(self.found(self.alice, "holiday"), [])
        self.assertEqual(self.found(self.alice, "timetables"), ["We take the ferry"])


class AnswerTest(SearchTestCase):
    def test_a_hit_says_what_matched_and_where(self):
        self.talk(self.alice, "x " * 300 + "The Café near the sea " + "y " * 300)
        [hit] = search_messages(self.alice, "cafe sea").hits
        self.assertEqual([hit.snippet[start:end] for start, end in hit.highlights], ["Café", "sea"])
        self.assertLess(len(hit.snippet), 300)
        self.assertEqual(hit.matched, "words")
        self.index()
        [hit] = search_messages(self.alice, "cafe sea").hits
        self.assertEqual(hit.matched, "both")
        self.assertTrue(0 < hit.score <= 1 and hit.text_score and hit.semantic_score)
        [hit] = search_messages(self.alice, "cafe sea", mode=Mode.SEMANTIC).hits
        self.assertEqual((hit.matched, hit.text_score), ("meaning", None))

    def test_of_a_long_message_the_part_that_is_meant_is_shown(self):
        def same(word: str, other: str) -> bool:
            first, second = loading.current().embed([word, other])
            return bool(first @ second > 0.99)

        synonym = next(word for word in (f"word{number}" for number in range(10_000)) if same(word, "zebra"))
        self.talk(self.alice, "x " * 2_000 + "y " * 2_000 + f"a {synonym}")
        self.index()
        for mode in (Mode.HYBRID, Mode.SEMANTIC):
            [hit] = search_messages(self.alice, "zebra", mode=mode).hits
            self.assertEqual((hit.matched, hit.highlights), ("meaning", ()))
            self.assertEqual(set(hit.snippet), set("y "))

    def test_says_what_answered_and_why(self):
        self.say(self.alice, "a whale")
        found = search_messages(self.alice, "whale")
        self.assertEqual((found.asked, found.mode), (Mode.HYBRID, Mode.TEXT))
        self.assertTrue(found.why)
        self.index()
        found = search_messages(self.alice, "whale")
        self.assertEqual((found.asked, found.mode, found.why), (Mode.HYBRID, Mode.HYBRID, ""))
        with override_settings(SEARCH_EMBEDDER="openai:none", EMBEDDINGS_BASE_URL=""):
            found = search_messages(self.alice, "whale")
            self.assertTrue(found.why)
            self.assertEqual(len(found.hits), 1)

    def test_pages_repeat_and_leave_out_nothing(self):
        for number in range(130):
            self.say(self.alice, f"whale {number}")
        self.index()
        for mode in Mode:
            seen: list[Hit] = []
            cursor = ""
            while True:
                page = search_messages(self.alice, "whale", mode=mode, limit=40, cursor=cursor)
                seen += page.hits
                cursor = page.next_cursor
                if not cursor:
                    break
            self.assertEqual(len({hit.message.pk for hit in seen}), 130, mode)
            self.assertEqual(len(seen), 130, mode)
            scores = [hit.score for hit in seen]
            self.assertEqual(scores, sorted(scores, reverse=True))

    def test_a_cursor_is_good_for_its_search_alone(self):
        for number in range(3):
            self.say(self.alice, f"whale {number}")
        first = search_messages(self.alice, "whale", limit=2).next_cursor
        for cursor in ("x", first + "x", first[::-1], "\x00", "é" * 500):
            with self.subTest(cursor), self.assertRaises(InvalidCursor):
                search_messages(self.alice, "whale", cursor=cursor)
        for who, query in ((self.bob, "whale"), (self.alice, "fish")):
            with self.assertRaises(InvalidCursor):
                search_messages(who, query, cursor=first)

    def test_a_hit_knows_its_neighbours_and_whether_it_is_shown(self):
        conversation, [asked, answer] = self.talk(self.alice, "Where do whales live?", "In the sea.")
        edit_message(message=asked, content="Where do whales sleep?")
        hits = {hit.message.content: hit for hit in search_messages(self.alice, "whales").hits}
        self.assertFalse(hits["Where do whales live?"].shown)
        self.assertEqual(hits["Where do whales live?"].after, answer)
        self.assertTrue(hits["Where do whales sleep?"].shown)
        self.assertIsNone(hits["Where do whales sleep?"].after)
        [hit] = search_messages(self.alice, "sea", filters=Filters(roles=("assistant",))).hits
        self.assertEqual(hit.before, asked)

    def test_filters_narrow_both_halves(self):
        old, [first, second] = self.talk(self.alice, "a whale", "the whale")
        new, [third] = self.talk(self.alice, "one more whale")
        Message.objects.filter(pk=second.pk).update(model="gpt-x")
        Message.objects.filter(pk=first.pk).update(created_at=timezone.now() - dt.timedelta(days=9))
        update_conversation(conversation=new, archived_at=timezone.now(), end_user="eve", tags=["Sea", "White"])
        self.index()
        yesterday = timezone.now() - dt.timedelta(days=1)
        for filters, expected in (
            (Filters(), {first, second, third}),
            (Filters(conversation_id=new.pk), {third}),
            (Filters(roles=("assistant",)), {second}),
            (Filters(roles=("assistant", "user")), {first, second, third}),
            (Filters(model="gpt-x"), {second}),
            (Filters(after=yesterday), {second, third}),
            (Filters(before=yesterday), {first}),
            (Filters(archived=True), {third}),
            (Filters(archived=False), {first, second}),
            (Filters(end_user="eve"), {third}),
            (Filters(end_user="nobody"), set()),
            (Filters(tag="sea"), {third}),
            (Filters(tag="nothing"), set()),
        ):
            for mode in Mode:
                with self.subTest(filters=filters, mode=mode):
                    hits = search_messages(self.alice, "whale", mode=mode, filters=filters).hits
                    self.assertEqual({hit.message for hit in hits}, expected)

    def test_staff_search_everybody_or_one(self):
        for who in (self.alice, self.bob, self.guest):
            self.say(who, "a whale")
        self.assertEqual(len(search_everybody("whale").hits), 3)
        self.index()
        self.assertEqual(len(search_everybody("whale").hits), 3)
        for who in (self.bob, self.guest):
            [hit] = search_everybody("whale", filters=Filters(owner_id=who.user_id)).hits
            self.assertEqual(hit.message.conversation.owner_id, who.user_id)
