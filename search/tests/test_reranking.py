"""The best hits are ordered anew by a cross-encoder, on every page alike, and stay as they were if it cannot."""

from __future__ import annotations

import tempfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from django.test import SimpleTestCase, override_settings

from search import reranking
from search.checks import reranker_can_be_had
from search.passages import day
from search.queries import Group, Hit, Hits, Mode, search_everybody, search_messages
from search.rerankers import CannotRerank, load, problem_with
from search.tests.case import SearchTestCase
from search.tests.tiny_models import make_cross_encoder

QUESTION = "where does the cat sleep"
PASSAGES = ["the cat sleeps on a sofa", "a dog", "rates rose " * 60, "", "the dog sleeps where the cat does"]
# Warnings that the model's libraries cause on import, and while they export.
pytestmark = pytest.mark.filterwarnings("default")


class CrossEncoderTest(SimpleTestCase):
    def test_an_exported_model_gives_the_scores_of_the_model(self):
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory) / "model"
            make_cross_encoder(folder)
            whole = load(str(folder))
            scores = whole.score(QUESTION, PASSAGES)
            self.assertEqual(len(set(scores)), len(PASSAGES))
            for path in (folder, folder / "model.onnx"):
                exported = load(f"onnx:{path}")
                np.testing.assert_allclose(exported.score(QUESTION, PASSAGES), scores, atol=1e-3)
                self.assertEqual(exported.order(QUESTION, PASSAGES, 60), np.argsort(-scores).tolist())
            with self.assertRaisesMessage(CannotRerank, "longer than 0 s"):
                whole.order(QUESTION, PASSAGES, 0)

    def test_what_cannot_be_used_is_said(self):
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory) / "model"
            for name in (f"onnx:{folder}", str(folder), "onnx:", "chat:", "cross-encoder/of-the-hub"):
                self.assertTrue(problem_with(name), name)
                with override_settings(SEARCH_RERANKER=name):
                    self.assertEqual([found.id for found in reranker_can_be_had(None)], ["search.E003"])
            make_cross_encoder(folder, scores=3)
            for name in (f"onnx:{folder}", str(folder)):
                self.assertEqual(problem_with(name), "")
                with self.assertRaisesMessage(CannotRerank, "no single score"):
                    load(name)
            (folder / "model.onnx").write_bytes(b"no model")
            (folder / "config.json").write_text("{}")
            for name in (f"onnx:{folder}", str(folder)):
                with self.assertRaisesMessage(CannotRerank, "could not be loaded"):
                    load(name)
        self.assertEqual([problem_with(name) for name in ("", "chat:default")], ["", ""])


class RerankingTest(SearchTestCase):
    name: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "model"
        make_cross_encoder(folder)
        cls.name = f"onnx:{folder}"

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(reranking.forget)
        reranking.forget()
        for words in list(permutations(["the cat", "a dog", "sofa", "rates"], 3)) * 2:  # 48 of them
            self.talk(self.alice, " ".join(("sleeps", *words)), "the answer sleeps")
        self.index()

    def pages(self, limit: int, *, mode: Mode = Mode.HYBRID, group: Group | None = None) -> list[Hit]:
        seen: list[Hit] = []
        cursor = ""
        while True:
            page = self.search(limit, mode=mode, group=group, cursor=cursor)
            seen += page.hits
            cursor = page.next_cursor
            if not cursor:
                return seen

    def search(self, limit: int = 100, **how) -> Hits:
        found = search_messages(self.alice, "sleeps cat", limit=limit, **how)
        self.assertEqual(found.why, "")
        return found

    def test_the_best_are_in_the_order_of_the_model_and_the_rest_as_before(self):
        for mode in Mode:
            with self.subTest(mode), override_settings(SEARCH_RERANKER="", SEARCH_RERANK_SECONDS=60):
                before = self.search(mode=mode).hits
                with override_settings(SEARCH_RERANKER=self.name):
                    encoder = reranking.loader.take(self.name)
                    after = self.search(mode=mode).hits
                self.assertEqual({hit.message.pk for hit in after[:30]}, {hit.message.pk for hit in before[:30]})
                self.assertEqual(after[30:], before[30:])
                self.assertNotEqual(after[:30], before[:30])
                scores = [(not hit.found, -encoder.score("sleeps cat", [self.passage(hit)])[0]) for hit in after[:30]]
                np.testing.assert_allclose(scores, sorted(scores), atol=1e-3)

    def passage(self, hit: Hit) -> str:
        lines = [day(hit.message.created_at), f"{hit.message.role}: {hit.message.content}"]
        return "\n".join([*lines, f"user: {hit.before.content}"] if hit.before else lines)

    def test_pages_of_any_size_repeat_and_leave_out_nothing(self):
        with override_settings(SEARCH_RERANKER=self.name, SEARCH_RERANK_SECONDS=60):
            reranking.loader.take(self.name)
            for group in (None, Group.CONVERSATION):
                once = [(hit.message.pk, hit.others) for hit in self.pages(100, group=group)]
                self.assertEqual(len(set(once)), 48 if group else 96)
                for limit in (1, 7, 29, 31):
                    with self.subTest(group=group, limit=limit):
                        seen = [(hit.message.pk, hit.others) for hit in self.pages(limit, group=group)]
                        self.assertEqual(seen, once)
            whole = self.search().hits
            first = self.search(20)
            # A further page is as the first one was made, whatever the model would say by now.
            with override_settings(SEARCH_RERANKER="chat:none"):
                second = self.search(20, cursor=first.next_cursor)
        self.assertEqual([hit.message for hit in second.hits], [hit.message for hit in whole[20:40]])

    def test_a_model_that_is_late_or_not_there_leaves_the_first_order_and_says_so(self):
        before = self.search().hits
        with override_settings(SEARCH_RERANKER=self.name, SEARCH_RERANK_SECONDS=1e-9):
            while (late := search_messages(self.alice, "sleeps cat", limit=100)).why == reranking.LOADING:
                pass
            again = search_messages(self.alice, "sleeps cat", limit=100, rerank_seconds=0)
        with override_settings(SEARCH_RERANKER="onnx:/nowhere"), self.assertLogs("search.reranking"):
            with self.assertRaises(CannotRerank):
                reranking.loader.take("onnx:/nowhere")
            gone = search_messages(self.alice, "sleeps cat", limit=100)
        for found, why in ((late, "longer than 1e-09 s"), (again, "longer than 0 s"), (gone, "0 files")):
            self.assertIn(why, found.why)
            self.assertEqual((found.hits, found.mode), (before, Mode.HYBRID))

    def test_staff_that_searches_everybody_has_its_hits_ordered_too(self):
        before = search_everybody("sleeps cat", limit=30).hits
        with override_settings(SEARCH_RERANKER=self.name, SEARCH_RERANK_SECONDS=60):
            reranking.loader.take(self.name)
            after = search_everybody("sleeps cat", limit=30).hits
        self.assertNotEqual(after, before)
        self.assertEqual({hit.message for hit in after}, {hit.message for hit in before})
