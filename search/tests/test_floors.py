"""Nonsense is not found: below the floor of its embedder a hit is only the nearest there is."""

from __future__ import annotations

from unittest import mock

from search import floors
from search.floors import FLOORS, NO_FLOOR, Floor, floor_of
from search.queries import Hit, Mode, search_messages
from search.tests.case import SearchTestCase

NONSENSE = ("qwzx vbnrt", "flurbig zonkelt mipf", "xx yy zz")


class FloorTest(SearchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.talk(self.alice, "Where do whales sleep?", "Near the surface, half awake.", "And the otters?", "Afloat.")
        self.talk(self.alice, "Which bread rises without yeast?", "Soda bread, with buttermilk.")
        self.index()

    def test_what_is_said_is_found_and_nonsense_is_only_near(self):
        for mode in (Mode.HYBRID, Mode.SEMANTIC):
            for query in ("where do whales sleep", "soda bread with buttermilk"):
                with self.subTest(query, mode=mode):
                    self.assertTrue(search_messages(self.alice, query, mode=mode).hits[0].found)
            for query in NONSENSE:
                with self.subTest(query, mode=mode):
                    hits = search_messages(self.alice, query, mode=mode).hits
                    self.assertTrue(hits, "the nearest are shown")
                    self.assertEqual({hit.found for hit in hits}, {False})

    def test_hits_that_were_found_come_first(self):
        for number in range(120):
            self.say(self.alice, f"filler {number}")
        self.index()
        seen, cursor = [], ""
        while True:
            page = search_messages(self.alice, "whales sleep", limit=30, cursor=cursor)
            seen += [hit.found for hit in page.hits]
            cursor = page.next_cursor
            if not cursor:
                break
        self.assertEqual(seen, sorted(seen, reverse=True))
        self.assertEqual({*seen}, {True, False})

    def test_a_hit_is_found_by_its_meaning_alone_and_comes_before_what_is_only_near(self):
        for number in range(120):
            self.say(self.alice, f"filler {number}")
        self.index()
        with mock.patch.dict(floors.FLOORS, {"hashing:64": Floor(0.9, 0.4)}):
            seen: list[Hit] = []
            cursor = ""
            while True:
                page = search_messages(self.alice, "whales sleep", limit=9, cursor=cursor)
                seen += page.hits
                cursor = page.next_cursor
                if not cursor:
                    break
        found = [hit for hit in seen if hit.found]
        self.assertEqual(seen[: len(found)], found)
        self.assertIn(0.9, [hit.score for hit in found], "of some the score is raised to the floor")
        self.assertEqual([hit.score for hit in seen], sorted([hit.score for hit in seen], reverse=True))
        for hit in seen[:20]:
            self.assertEqual(hit.found, hit.score >= 0.9)
            if hit.score == 0.9 or (not hit.found and hit.semantic_score is not None):
                self.assertEqual(hit.found, (hit.semantic_score or 0) >= 0.4)

    def test_a_word_a_phrase_and_a_rare_name_are_found_whatever_they_mean(self):
        self.say(self.alice, "a letter to zyzzyva")
        self.index()
        for query, how in (("zyzzyva", Mode.HYBRID), ("zyzzyva", Mode.TEXT), ('"a letter"', Mode.SEMANTIC)):
            with self.subTest(query, mode=how):
                self.assertTrue(search_messages(self.alice, query, mode=how).hits[0].found)

    def test_a_search_by_words_alone_finds_what_it_shows(self):
        self.assertEqual(search_messages(self.alice, NONSENSE[0], mode=Mode.TEXT).hits, ())
        self.assertTrue(all(hit.found for hit in search_messages(self.alice, "bread zonkelt", mode=Mode.TEXT).hits))

    def test_an_embedder_without_a_floor_finds_everything(self):
        with mock.patch.object(floors, "FLOORS", {}):
            hits = search_messages(self.alice, NONSENSE[0]).hits
        self.assertEqual({hit.found for hit in hits}, {True})

    def test_of_several_embedders_the_lowest_floor_holds(self):
        self.assertEqual(floor_of(["minilm", "nobody's"]), NO_FLOOR)
        self.assertEqual(floor_of(["minilm"]), FLOORS["minilm"])
        with mock.patch.object(floors, "FLOORS", {"a": Floor(0.2, 0.5), "b": Floor(0.3, 0.4)}):
            self.assertEqual(floor_of(["a", "b"]), Floor(0.2, 0.4))
