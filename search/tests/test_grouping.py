"""Hits of one conversation folded into its best, with the number of the others, on every page alike."""

from __future__ import annotations

from search.queries import Group, Hit, Hits, InvalidCursor, Mode, search_messages
from search.tests.case import SearchTestCase


class GroupingTest(SearchTestCase):
    def grouped(self, query: str, **how) -> Hits:
        return search_messages(self.alice, query, group=Group.CONVERSATION, **how)

    def pages(self, query: str, limit: int, mode: Mode) -> list[Hit]:
        seen: list[Hit] = []
        cursor = ""
        while True:
            page = self.grouped(query, limit=limit, mode=mode, cursor=cursor)
            self.assertLessEqual(len(page.hits), limit)
            seen += page.hits
            cursor = page.next_cursor
            if not cursor:
                return seen

    def test_each_conversation_is_one_hit_its_best(self):
        self.talk(self.alice, "whale", "whales and other things that live in the sea", "no fish")
        self.talk(self.alice, "a whale")
        self.talk(self.bob, "whale", "whale")
        for mode in Mode:
            if mode != Mode.TEXT:
                self.index()
            with self.subTest(mode):
                plain = search_messages(self.alice, "whale", mode=mode).hits
                hits = self.grouped("whale", mode=mode).hits
                self.assertEqual(len({hit.message.conversation_id for hit in hits}), len(hits))
                for hit in hits:
                    same = [each for each in plain if each.message.conversation_id == hit.message.conversation_id]
                    self.assertEqual(hit.message, same[0].message)
                    self.assertEqual(hit.others, sum(each.found for each in same[1:]))
                self.assertTrue(all(each.others is None for each in plain))
        self.assertEqual([hit.others for hit in self.grouped("whale", mode=Mode.TEXT).hits], [0, 1])

    def test_pages_of_any_size_have_each_conversation_once_with_the_same_count(self):
        for number in range(70):
            self.talk(self.alice, *(f"whale {number} {turn}" for turn in range(number % 4 + 1)))
        self.index()
        for mode in Mode:
            whole = self.pages("whale", 100, mode)
            self.assertEqual(len({hit.message.conversation_id for hit in whole}), 70, mode)
            if mode != Mode.SEMANTIC:  # by which not all of them are found
                self.assertEqual(sum(hit.others or 0 for hit in whole) + 70, 173, mode)
            for limit in (1, 7, 69, 70):
                with self.subTest(mode=mode, limit=limit):
                    seen = self.pages("whale", limit, mode)
                    self.assertEqual(
                        [(hit.message.pk, hit.others) for hit in seen], [(hit.message.pk, hit.others) for hit in whole]
                    )

    def test_a_cursor_of_single_hits_is_none_of_conversations(self):
        for number in range(3):
            self.talk(self.alice, f"whale {number}")
        single = search_messages(self.alice, "whale", limit=1).next_cursor
        with self.assertRaises(InvalidCursor):
            self.grouped("whale", limit=1, cursor=single)
        with self.assertRaises(InvalidCursor):
            search_messages(self.alice, "whale", limit=1, cursor=self.grouped("whale", limit=1).next_cursor)
