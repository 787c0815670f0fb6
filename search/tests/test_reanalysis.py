"""Another version of the analyser, or another language, makes the terms of stored messages anew, beside searches."""

from __future__ import annotations

from unittest.mock import patch

from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from search import analysis
from search.embedders import loading
from search.indexer import Indexer
from search.models import Entry, IndexPartition, Passage, PendingMessage
from search.queries import Mode
from search.reanalysis import remake_terms
from search.tests.case import SearchTestCase


class ReanalysisTest(SearchTestCase):
    def by_words(self, query: str) -> list[str]:
        return self.found(self.alice, query, mode=Mode.TEXT)

    def spoil(self) -> None:
        """Leave the index as a version without single characters made it."""
        kinds = analysis.SEQUENCE - {analysis.Kind.CHARACTER} | analysis.LENGTH

        def former(text: str, language: str) -> tuple[frozenset[str], int]:
            found = [each for each in analysis.tokens(text) if each.kind in kinds]
            return frozenset(each.stem(language) for each in found), len(found)

        with patch("search.turns.indexed", former):
            self.index()
        IndexPartition.objects.update(analysis=0)

    def test_what_an_earlier_version_indexed_is_indexed_anew(self):
        for content in ("我家的猫很懒", "a whale", "use --dry-run"):
            self.say(self.alice, content)
        self.say(self.bob, "她喜欢狗和猫")
        self.spoil()
        passages = set(Passage.objects.values_list("pk", flat=True))
        self.assertEqual((self.by_words("猫"), self.by_words("家的猫")), ([], ["我家的猫很懒"]))
        indexer = Indexer(embedder=loading.current)
        self.assertTrue(indexer.step())
        self.assertEqual(self.by_words("whale"), ["a whale"])
        while indexer.step():
            self.assertEqual(self.by_words("家的猫"), ["我家的猫很懒"])
        self.assertEqual((self.by_words("猫"), self.by_words("dryrun")), (["我家的猫很懒"], ["use --dry-run"]))
        self.assertEqual(self.found(self.bob, "狗", mode=Mode.TEXT), ["她喜欢狗和猫"])
        self.assertEqual(set(Passage.objects.values_list("pk", flat=True)), passages, "vectors stay")
        self.assertFalse(PendingMessage.objects.exists())
        self.assertEqual(set(IndexPartition.objects.values_list("analysis", flat=True)), {analysis.fingerprint()})

    def test_it_goes_on_where_it_was_interrupted(self):
        for number in range(5):
            self.say(self.alice, f"猫 {number} 我家的猫")
        self.spoil()
        self.assertTrue(remake_terms(limit=2))
        first, *_, last = Entry.objects.order_by("pk")
        with CaptureQueriesContext(connection) as asked:
            self.assertTrue(remake_terms(limit=2))
        read = " ".join(query["sql"] for query in asked.captured_queries)
        self.assertNotIn(first.message_id.hex, read.replace("-", ""))
        while remake_terms(limit=2):
            pass
        self.assertEqual(len(self.by_words("家")), 5)
        with CaptureQueriesContext(connection) as asked:
            self.assertFalse(remake_terms())
        self.assertEqual(len(asked.captured_queries), 1)

    def test_a_message_that_changes_meanwhile_keeps_its_newest_text(self):
        message = self.say(self.alice, "a whale")
        self.spoil()
        message.content = "a lighthouse"
        message.save()
        while remake_terms():
            pass
        self.index()
        self.assertEqual((self.by_words("whale"), self.by_words("lighthouse")), ([], ["a lighthouse"]))

    def test_a_message_that_is_deleted_meanwhile_stays_deleted(self):
        message = self.say(self.alice, "a whale")
        self.spoil()
        message.delete()
        while remake_terms():
            pass
        self.assertFalse(Entry.objects.exists())

    def test_another_setting_of_the_language_is_another_analysis(self):
        self.say(self.alice, "Haustüren")
        self.index()
        self.assertEqual(self.by_words("Haustür"), [])
        with override_settings(SEARCH_LANGUAGE="german"):
            while remake_terms():
                pass
            self.assertEqual(self.by_words("Haustür"), ["Haustüren"])
        while remake_terms():
            pass
        self.assertEqual(self.by_words("Haustür"), [])


class LanguagesTest(SearchTestCase):
    def test_each_message_is_found_by_the_forms_of_its_own_language(self):
        texts = {
            "Die Häuser sind nicht am Meer": ("Haus", "Hauses", "wo ist das Haus"),
            "Les maisons ne sont pas sur la plage": ("maison", "plages"),
            "Мы не были в сибирских лесах": ("лес", "лесами", "сибирский"),
            "The houses are not at the seaside": ("house", "housing seaside"),
        }
        for text in texts:
            self.say(self.alice, text)
        self.index()
        for text, queries in texts.items():
            for query in queries:
                with self.subTest(query):
                    self.assertEqual(self.found(self.alice, query, mode=Mode.TEXT)[:1], [text])
        self.assertEqual(self.found(self.alice, '"die Häuser sind"', mode=Mode.TEXT), [*texts][:1])
        self.assertEqual(self.found(self.alice, "maison", mode=Mode.TEXT), [[*texts][1]])
        self.assertEqual(IndexPartition.objects.get(owner_id=self.alice.user_id).languages, "french german russian")

    def test_words_of_one_language_are_not_those_of_another(self):
        german, english = "Der Rat ist nicht da", "The rat is not there"
        for text in (german, english):
            self.say(self.alice, text)
        self.assertEqual(self.found(self.alice, "rates", mode=Mode.TEXT), [german])
        self.assertEqual(set(self.found(self.alice, "rat", mode=Mode.TEXT)), {german, english})
