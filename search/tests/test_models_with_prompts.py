"""Models as they are meant: prompts of each side, exported models, fewer dimensions, and what a change of them does."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from django.test import SimpleTestCase, override_settings

from search.embedders import CannotEmbed, Options, load, loading, onnx_modules, problem_with
from search.embedders.base import full_name, read_name
from search.indexer import Indexer
from search.models import Embedder, Passage, PendingMessage
from search.queries import Mode
from search.tests.case import SearchTestCase
from search.tests.tiny_models import DIMENSIONS, export_tokens, make_model

PROMPTS = {"query": "query: ", "passage": "passage: "}
TEXTS = ["the cat sleeps on a sofa", "a dog", "rates rose again " * 30, ""]
# Warnings that the model's libraries cause on import, and while they export.
pytestmark = pytest.mark.filterwarnings("default")


class OwnPromptsTest(SimpleTestCase):
    folder: Path

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "model"
        make_model(cls.folder, prompts=PROMPTS, default_prompt_name="query")

    def test_one_text_has_other_vectors_on_the_two_sides_and_none_of_them_by_itself(self):
        embedder = load(str(self.folder))
        [text] = texts = ["the cat"]
        sides = embedder.embed_queries(texts)[0], embedder.embed_passages(texts)[0], embedder.embed(texts)[0]
        for one, other in ((0, 1), (0, 2), (1, 2)):
            self.assertLess(float(sides[one] @ sides[other]), 0.999)
        by_hand = embedder.embed([f"query: {text}", f"passage: {text}"])
        np.testing.assert_allclose(sides[:2], by_hand, atol=1e-2)

    def test_settings_replace_them_or_leave_them_out(self):
        texts = ["the cat"]
        other = load(str(self.folder), Options(query_prompt="where does ", passage_prompt=""))
        np.testing.assert_allclose(other.embed_queries(texts), other.embed(["where does the cat"]), atol=1e-2)
        np.testing.assert_allclose(other.embed_passages(texts), other.embed(texts), atol=1e-2)

    def test_the_name_has_what_makes_the_vectors_and_loads_them_again(self):
        own = load(str(self.folder), Options(dimensions=8))
        self.assertEqual(
            own.name, f'{self.folder} {{"dimensions": 8, "query_prompt": "query: ", "passage_prompt": "passage: "}}'
        )
        again = load(*read_name(own.name))
        self.assertEqual(again.name, own.name)
        np.testing.assert_array_equal(again.embed_passages(TEXTS), own.embed_passages(TEXTS))
        without = load(*read_name(str(self.folder)))  # as a version before prompts stored it
        self.assertEqual((without.name, without.query_prompt), (str(self.folder), ""))

    def test_fewer_dimensions_are_the_first_ones_at_length_one(self):
        whole, cut = load(str(self.folder)), load(str(self.folder), Options(dimensions=5))
        self.assertEqual((whole.dimensions, cut.dimensions), (DIMENSIONS, 5))
        vectors = cut.embed_passages(TEXTS)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        longer = whole.embed_passages(TEXTS)[:, :5]
        np.testing.assert_allclose(vectors, longer / np.linalg.norm(longer, axis=1, keepdims=True), atol=1e-5)
        with self.assertRaisesMessage(CannotEmbed, "fewer than SEARCH_DIMENSIONS"):
            load(str(self.folder), Options(dimensions=DIMENSIONS + 1))

    @override_settings(SEARCH_QUERY_PROMPT="none", SEARCH_PASSAGE_PROMPT="a dog ", SEARCH_DIMENSIONS=4)
    def test_the_settings_are_the_options_of_the_model_in_use(self):
        self.addCleanup(loading.forget)
        with override_settings(SEARCH_EMBEDDER=str(self.folder)):
            embedder = loading.current()
        self.assertEqual((embedder.query_prompt, embedder.passage_prompt, embedder.dimensions), ("", "a dog ", 4))

    def test_prompts_that_no_index_of_the_database_holds_are_refused(self):
        with self.assertRaisesMessage(CannotEmbed, "too long"):
            load("hashing", Options(query_prompt="é" * 1_000))

    def test_names_are_read_as_they_were_written(self):
        for options in (Options(0, "", ""), Options(7, '{ "', "\n é"), Options(0, "", "x")):
            self.assertEqual(read_name(full_name("/a {b}/c", options)), ("/a {b}/c", options))


class ExportedModelTest(SimpleTestCase):
    def test_an_exported_model_means_what_the_model_means(self):
        for pooling, dense in (("mean", False), ("cls", True), ("max", False), ("lasttoken", True)):
            with self.subTest(pooling, dense=dense), tempfile.TemporaryDirectory() as directory:
                folder = Path(directory) / "model"
                make_model(folder, pooling=pooling, dense=dense, prompts=PROMPTS)
                file = folder / "onnx" / "model.onnx"
                export_tokens(folder, file)
                whole = load(str(folder))
                for path in (folder, file):
                    exported = load(f"onnx:{path}")
                    self.assertEqual((exported.dimensions, exported.tokens), (whole.dimensions, whole.tokens))
                    self.assertEqual(read_name(exported.name)[1], read_name(whole.name)[1])
                    self.assertEqual(exported.count_tokens(TEXTS), whole.count_tokens(TEXTS))
                    for side in ("embed", "embed_queries", "embed_passages"):
                        cosines = (getattr(exported, side)(TEXTS) * getattr(whole, side)(TEXTS)).sum(axis=1)
                        self.assertGreater(cosines.min(), 0.99, side)

    def test_what_cannot_be_used_is_said(self):
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory) / "model"
            self.assertTrue(problem_with(f"onnx:{folder}"))
            self.assertTrue(problem_with("onnx:"))
            folder.mkdir()
            self.assertEqual(problem_with(f"onnx:{folder}"), "")
            with self.assertRaisesMessage(CannotEmbed, "0 files"):
                load(f"onnx:{folder}")
            (folder / "model.onnx").write_bytes(b"no model")
            with self.assertRaisesMessage(CannotEmbed, "tokenizer.json"):
                load(f"onnx:{folder}")
            for modules, wanted in (
                ('[{"type": "sentence_transformers.models.LSTM", "path": ""}]', "LSTM"),
                ('[{"type": "sentence_transformers.models.Transformer", "path": ""}]', "no pooling"),
            ):
                (folder / "modules.json").write_text(modules)
                with self.assertRaisesMessage(CannotEmbed, wanted):
                    onnx_modules.read_layers(folder)


class ChangedTest(SearchTestCase):
    def test_a_changed_prompt_or_dimension_indexes_again_while_the_old_vectors_answer(self):
        for text in ("a whale", "a lighthouse", "a harbour"):
            self.say(self.alice, text)
        self.index()
        for name, changed in (
            ('hashing:64 {"query_prompt": "find "}', {"SEARCH_QUERY_PROMPT": "find "}),
            ('hashing:64 {"passage_prompt": "of "}', {"SEARCH_PASSAGE_PROMPT": "of "}),
            ('hashing:64 {"dimensions": 60}', {"SEARCH_DIMENSIONS": 60}),
            ("hashing:64", {}),
        ):
            with self.subTest(name), override_settings(**changed):
                indexer = Indexer(embedder=loading.current)
                self.assertEqual(self.found(self.alice, "lighthouse", mode=Mode.SEMANTIC, limit=1), ["a lighthouse"])
                indexer.step()  # queues what was embedded otherwise
                self.assertEqual(PendingMessage.objects.count(), 3)
                self.assertEqual(self.found(self.alice, "lighthouse", mode=Mode.SEMANTIC, limit=1), ["a lighthouse"])
                while indexer.step():
                    pass
                self.assertEqual(set(Passage.objects.values_list("embedder__name", flat=True)), {name})
                self.assertEqual(set(Embedder.objects.values_list("name", flat=True)), {name})
                self.assertEqual(self.found(self.alice, "lighthouse", mode=Mode.SEMANTIC, limit=1), ["a lighthouse"])
