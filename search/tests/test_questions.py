"""A question is embedded once, beside other work, and again when that failed."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from django.test import SimpleTestCase

from search.embedders import CannotEmbed, loading
from search.embedders.hashing import HashingEmbedder


class Watched(HashingEmbedder):
    """Embeds when it is let to, and fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__(64)
        self.failures = failures
        self.asked: list[str] = []
        self.begun, self.let = threading.Event(), threading.Event()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        self.begun.set()
        assert self.let.wait(10)
        if self.failures:
            self.failures -= 1
            raise CannotEmbed("not now")
        return super().embed(texts)


class QuestionsTest(SimpleTestCase):
    def use(self, embedder: Watched) -> Watched:
        loading.forget()
        self.addCleanup(loading.forget)
        loading._loaded[loading.current_name()] = embedder
        return embedder

    def test_what_is_expected_is_begun_at_once_and_asked_once(self):
        embedder = self.use(Watched())
        loading.expect_question("whales")
        self.assertTrue(embedder.begun.wait(10))
        embedder.let.set()
        for _ in range(2):
            vector = loading.embed_question(embedder, "whales")
        np.testing.assert_array_equal(vector, HashingEmbedder(64).embed(["whales"])[0])
        self.assertEqual(embedder.asked, ["whales"])

    def test_what_failed_is_said_and_tried_again(self):
        embedder = self.use(Watched(failures=1))
        embedder.let.set()
        loading.expect_question("whales")
        with self.assertRaises(CannotEmbed):
            loading.embed_question(embedder, "whales")
        self.assertEqual(len(loading.embed_question(embedder, "whales")), 64)
        self.assertEqual(embedder.asked, ["whales", "whales"])

    def test_not_everything_is_remembered(self):
        embedder = self.use(Watched())
        embedder.let.set()
        for number in range(loading.REMEMBERED + 5):
            loading.embed_question(embedder, f"question {number}")
        self.assertLessEqual(len(loading._questions), loading.REMEMBERED)
