"""SQLite's full text is merged until deleted words are gone: in small parts, and only when idle."""

from __future__ import annotations

from unittest import skipUnless
from unittest.mock import patch

from django.db import connection

from conversations.models import Message
from conversations.services import delete_message
from search import indexer
from search.analysis import stems, term_of
from search.backends import backend
from search.embedders import loading
from search.indexer import Indexer
from search.models import IndexPartition
from search.queries import Mode
from search.tests.case import SearchTestCase

WORD = "Quagmirefritillary"


@skipUnless(connection.vendor == "sqlite", "PostgreSQL has its vacuum")
class CompactionTest(SearchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.compact()  # what other tests left
        for text in ("a white whale", "the keeper of the lighthouse", "nothing at all"):
            self.say(self.alice, text)
        self.secret = self.say(self.alice, f"a {WORD}")
        self.index()
        self.term = term_of(IndexPartition.objects.get(owner_id=self.alice.user_id).pk, stems(WORD)[0])

    def compact(self) -> int:
        """Compact until nothing is left to do; return the number of parts."""
        parts, begin = 0, True
        while backend().compact(begin=begin):
            parts, begin = parts + 1, False
        return parts

    def is_left(self) -> bool:
        """Tell whether the index's own pages still contain the word's number, or at least its last digits."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT block FROM search_text_data")
            blocks = b"".join(row[0] for row in cursor.fetchall())
        return f"{self.term:x}"[-7:].encode() in blocks

    def test_nothing_is_left_of_a_deleted_word(self):
        delete_message(message=self.secret)
        self.assertTrue(self.is_left())
        self.assertGreater(self.compact(), 0)
        self.assertFalse(self.is_left())
        self.assertEqual(self.found(self.alice, "whale", mode=Mode.TEXT), ["a white whale"])
        self.assertEqual(self.compact(), 0)

    def test_nothing_is_left_of_what_was_written_over(self):
        Message.objects.filter(pk=self.secret.pk).update(content="a lighthouse")
        self.index()
        self.assertTrue(self.is_left())
        self.compact()
        self.assertFalse(self.is_left())
        self.assertEqual(self.found(self.alice, WORD, mode=Mode.TEXT), [])
        self.assertEqual(len(self.found(self.alice, "lighthouse", mode=Mode.TEXT)), 2)

    def test_what_goes_while_a_merge_is_under_way_is_merged_by_another(self):
        first = self.say(self.alice, "something else")
        self.index()
        delete_message(message=first)
        self.assertTrue(backend().compact(begin=True))
        delete_message(message=self.secret)
        self.assertFalse(backend().compact(begin=False))
        self.compact()
        self.assertFalse(self.is_left())

    def test_the_indexer_does_it_when_it_has_nothing_else_to_do_and_not_all_the_time(self):
        delete_message(message=self.secret)
        working = Indexer(embedder=loading.current, semantic_checked=True)
        with patch.object(indexer, "COMPACT_PAUSE", 0.0):
            while working.step():
                pass
            self.assertFalse(self.is_left())
            delete_message(message=Message.objects.get(content="nothing at all"))
            self.assertFalse(working.step())
            with patch.object(indexer, "COMPACT_SECONDS", 0.0):
                self.assertTrue(working.step())
