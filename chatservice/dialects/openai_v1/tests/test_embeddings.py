"""`/v1/embeddings` with the official client, and requests that must be refused."""

from __future__ import annotations

import base64
import json
from typing import Any
from unittest import mock

import numpy as np
import openai
from django.test import SimpleTestCase

from chatservice.dialects.openai_v1 import embeddings
from chatservice.dialects.openai_v1.embeddings import names, read
from chatservice.dialects.problems import BadRequest
from chatservice.testing import ServiceTestCase, tried_once, wait_until
from search.embedders import Options, load
from search.embedders.hashing import HashingEmbedder

PATH = "/v1/embeddings"


@tried_once
class EmbeddingsTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.openai = openai.OpenAI(base_url=f"{self.service.url}/v1", api_key=self.alice.secret)
        self.addCleanup(self.openai.close)
        wait_until(lambda: self.post(input="x").status_code == 200, timeout=60, what="an embedder")

    def post(self, **body: Any) -> Any:
        return self.alice.http.post(PATH, json={"model": "default", **body})

    def test_the_official_client_gets_the_vectors_of_the_search(self):
        texts = ["Where do whales sleep?", "Near the surface", "x"]
        answer = self.openai.embeddings.create(model="default", input=texts)
        embedder = load(answer.model)
        wanted = embedder.embed(texts)
        self.assertEqual([each.index for each in answer.data], [0, 1, 2])
        np.testing.assert_allclose([each.embedding for each in answer.data], wanted, atol=1e-3)
        self.assertEqual(answer.usage.total_tokens, sum(embedder.count_tokens(texts)))
        plain = self.openai.embeddings.create(model=answer.model, input=texts[0], encoding_format="float")
        np.testing.assert_allclose(plain.data[0].embedding, wanted[0], atol=1e-3)
        same = self.openai.embeddings.create(model="default", input="x", dimensions=embedder.dimensions, user="eve")
        self.assertEqual(len(same.data[0].embedding), embedder.dimensions)
        raw = self.post(input="x", encoding_format="base64").json()["data"][0]["embedding"]
        vector = np.frombuffer(base64.b64decode(raw), "<f4")
        self.assertAlmostEqual(float(np.linalg.norm(vector)), 1.0, places=3)
        self.assertIn(answer.model, [model.id for model in self.openai.models.list()])

    def test_what_is_no_request_is_refused_by_name(self):
        wrong: dict[str, list[Any]] = {
            "input": [None, "", [], [""], 5, {}, [1, 2], [[1, 2], [3]], ["x", 1], ["x"] * 2_049],
            "encoding_format": ["int8", 5, []],
            "dimensions": [0, -1, 1.5, "5", True, 7],
            "model": [None, "", 5, [], "x" * 201],
        }
        for name, value in ((name, value) for name, values in wrong.items() for value in values):
            with self.subTest(name, value=str(value)[:50]):
                response = self.post(**{"input": "x", name: value})
                error = response.json()["error"]
                self.assertEqual((response.status_code, error["param"]), (400, name), error)
        long = self.post(input=["fine", "word " * 1_000])
        self.assertEqual((long.status_code, long.json()["error"]["code"]), (400, "context_length_exceeded"))
        with self.assertRaises(openai.AuthenticationError):
            self.openai.with_options(api_key="wrong").embeddings.create(model="default", input="x")
        self.assertEqual(self.guest.post(PATH, json={"model": "default", "input": "x"}).status_code, 401)

    def test_a_model_that_nobody_has_is_not_found_and_one_elsewhere_is_asked_there(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.openai.embeddings.create(model="text-embedding-3-small", input="x")
        self.assertEqual(caught.exception.code, "model_not_found")
        # Token ids are passed on unread: only the other server understands them.
        answer = self.openai.embeddings.create(model="fake/embed", input=[1, 2], dimensions=2, encoding_format="float")
        self.assertEqual((answer.data[0].embedding, answer.model), ([0.6, 0.8], "embed"))
        self.assertEqual(self.upstream.posts[-1].body["input"], [1, 2])


class ReadingTest(SimpleTestCase):
    def test_what_the_model_is_called(self):
        for name, wanted in (
            ("minilm", {"default", "minilm", "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"}),
            (
                "minilm-int8",
                {"default", "minilm-int8", "minilm", "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"},
            ),
            ("openai:text-embedding-3-small", {"default", "openai:text-embedding-3-small", "text-embedding-3-small"}),
            ("/models/mine", {"default", "/models/mine"}),
        ):
            with mock.patch.object(embeddings.loading, "current_name", return_value=name):
                self.assertEqual(set(names()), wanted)

    def test_the_prompts_of_a_search_are_not_in_what_clients_get(self):
        embedder = HashingEmbedder(64, Options(0, "a whale ", "a harbour "))
        answer = json.loads(embeddings._embed(embedder, read({"input": "a lighthouse"}, "default")).content)
        np.testing.assert_allclose(answer["data"][0]["embedding"], HashingEmbedder(64).embed(["a lighthouse"])[0])

    def test_tokens_are_told_from_other_mistakes(self):
        for tokens in ([1], [[1], [2]]):
            with self.assertRaisesRegex(BadRequest, "another model's tokens"):
                read({"input": tokens}, "default")
