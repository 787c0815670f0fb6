"""On PostgreSQL the terms of many owners are looked up in groups: each entry is found once all the same."""

from __future__ import annotations

from unittest import skipUnless
from unittest.mock import patch

from django.db import connection

from search.backends import backend, postgres
from search.models import Entry
from search.tests.case import SearchTestCase


@skipUnless(connection.vendor == "postgresql", "SQLite looks up all terms in one query")
class PostingsTest(SearchTestCase):
    def test_each_entry_is_found_once_by_its_own_terms(self):
        self.talk(self.alice, "whale harbour lighthouse", "harbour storm", "soup")
        self.talk(self.bob, "whale storm")
        self.index()
        entries = dict(Entry.objects.values_list("id", "terms"))
        every = sorted({term for terms in entries.values() for term in terms})
        one = entries[min(entries)]
        asked = [every, [], one[:1], one]
        for at_once in (1, 2, 3, 1_000):
            with self.subTest(at_once=at_once), patch.object(postgres, "TERMS_AT_ONCE", at_once):
                found = backend().postings(asked)
                for terms, rows in zip(asked, found, strict=True):
                    expected = sorted(pk for pk, own in entries.items() if {*own} & {*terms})
                    self.assertEqual(sorted(rows["id"].tolist()), expected)
        self.assertEqual([len(rows) for rows in backend().postings([[], []])], [0, 0])
        self.assertEqual(backend().postings([]), [])
