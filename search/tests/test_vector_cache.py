"""The quantized scan finds what brute force finds, however near the vectors are; the cache follows the database."""

from __future__ import annotations

import uuid
from unittest import TestCase
from unittest.mock import patch

import numpy as np
from django.db import connection
from django.test import override_settings

from accounts.callers import Principal
from conversations.models import Message
from search.backends import postgres, sqlite, vector_cache
from search.backends.vector_cache import CachedVectors, PassageRows, VectorCache, bytes_per_passage, quantize
from search.embedders import loading
from search.indexing import embedder_number
from search.models import IndexPartition
from search.tests.case import SearchTestCase


class CachedVectorsTest(TestCase):
    def setUp(self) -> None:
        self.random = np.random.default_rng(7)

    def cached(self, vectors: np.ndarray) -> CachedVectors:
        """Cache `vectors` as passages 1, 2, ... of entries 1001, 1002, ..., added in batches of uneven size."""
        cached = CachedVectors(vectors.shape[1])
        ids, first = np.arange(1, len(vectors) + 1), 0
        while first < len(ids):
            part = slice(first, first + int(self.random.integers(1, 200)))
            cached.add(PassageRows(ids[part], ids[part] + 1000, vectors[part].astype("f2")))
            first = part.stop
        return cached

    def unit(self, *shape: int) -> np.ndarray:
        found = self.random.standard_normal(shape)
        return (found / np.linalg.norm(found, axis=-1, keepdims=True)).astype("f4")

    def by_force(self, vectors: np.ndarray, vector: np.ndarray, count: int, allowed: np.ndarray | None) -> np.ndarray:
        cosines = (vectors.astype("f2").astype("f8") @ vector.astype("f8")).astype("f4")
        entries = np.arange(1001, 1001 + len(vectors))
        if allowed is not None:
            inside = np.isin(entries, allowed)
            entries, cosines = entries[inside], cosines[inside]
        return entries[np.lexsort((entries, -cosines))[:count]]

    def same(self, vectors: np.ndarray, vector: np.ndarray, count: int, allowed: np.ndarray | None = None) -> None:
        _, entries, cosines = self.cached(vectors).nearest(vector, count, allowed)
        np.testing.assert_array_equal(entries, self.by_force(vectors, vector, count, allowed))
        expected = vectors[entries - 1001].astype("f2").astype("f4") @ vector
        np.testing.assert_allclose(cosines, expected, atol=1e-6)

    def test_it_finds_what_brute_force_finds(self):
        for dimensions in (3, 64, 384, 1536):
            for count in (1, 10, 700):
                with self.subTest(dimensions=dimensions, count=count):
                    self.same(self.unit(600, dimensions), self.unit(dimensions), count)

    def test_neighbours_nearer_to_each_other_than_the_quantization_error(self):
        question = self.unit(384)
        near = question + 1e-3 * self.random.standard_normal((800, 384))
        crowd = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype("f4")
        for count in (1, 10, 50):
            self.same(np.concatenate([self.unit(500, 384), crowd]), question, count)

    def test_twins_come_in_the_order_of_their_entries(self):
        vectors = np.repeat(self.unit(3, 384), 300, axis=0)
        for count in (1, 50, 450):
            self.same(vectors, vectors[-1], count)

    def test_lengths_other_than_one_and_nothing_at_all(self):
        vectors = self.unit(400, 64) * self.random.uniform(0, 9, (400, 1)).astype("f4")
        vectors[::7] = 0
        self.same(vectors, self.unit(64), 20)
        self.same(vectors, np.zeros(64, "f4"), 20)

    def test_only_among_the_allowed(self):
        vectors, vector = self.unit(900, 384), self.unit(384)
        for allowed in (np.arange(1001, 1901, 3), np.array([1500]), np.array([5]), np.zeros(0, "i8")):
            with self.subTest(allowed=len(allowed)):
                self.same(vectors, vector, 10, allowed)

    def test_an_empty_cache(self):
        self.assertEqual([len(each) for each in CachedVectors(384).nearest(self.unit(384), 10, None)], [0, 0, 0])

    def test_nothing_is_left_of_what_was_dropped(self):
        vectors, vector = self.unit(500, 384), self.unit(384)
        cached = self.cached(vectors)
        best = int(cached.nearest(vector, 1, None).ids[0])
        kept = np.array([at for at in range(1, 501, 2) if at != best])
        cached.keep(kept)
        entries = cached.nearest(vector, 10, None).entries
        np.testing.assert_array_equal(entries, self.by_force(vectors, vector, 10, kept + 1000))
        for name in vector_cache.ARRAYS:
            self.assertFalse(getattr(cached, name)[len(kept) :].any(), name)

    def test_it_takes_the_bytes_it_says(self):
        cached = self.cached(self.unit(100, 384))
        self.assertEqual(cached.nbytes, len(cached.ids) * bytes_per_passage(384))

    def test_the_residual_is_never_larger_than_it_says(self):
        vectors = self.unit(300, 384)
        quantized, scales, residuals, norms = quantize(vectors)
        np.testing.assert_allclose(np.linalg.norm(vectors - quantized * scales[:, None], axis=1), residuals, rtol=1e-4)
        np.testing.assert_allclose(norms, 1, rtol=1e-4)
        self.assertLess(residuals.max(), 0.03)

    def test_many_more_than_a_sample(self):
        vectors = np.repeat(self.unit(30, 16), 1000, axis=0)
        vectors[:29_000] *= np.linspace(0.1, 1, 29_000, dtype="f4")[:, None]
        for count in (1, 50, 3_000):
            self.same(vectors, vectors[29_500], count)


class VectorCacheTest(SearchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cache = VectorCache(postgres._read if connection.vendor == "postgresql" else sqlite._read)
        for who in (self.alice, self.bob):
            self.talk(who, "a whale", "another whale", "a third one")
        self.index()

    def load(self, who: Principal) -> CachedVectors:
        partition = IndexPartition.objects.get(owner_id=who.user_id).pk
        embedder = loading.current()
        with connection.cursor() as cursor:
            return self.cache.load(cursor, partition, embedder_number(embedder), embedder.dimensions)

    def owners(self) -> set[uuid.UUID]:
        partitions = [partition for partition, _, _ in self.cache._cached]
        return set(IndexPartition.objects.filter(pk__in=partitions).values_list("owner_id", flat=True))

    def test_each_owners_passages_are_cached_as_they_are_now(self):
        for who in (self.alice, self.bob):
            self.assertEqual(self.load(who).size, 3)
        first = Message.objects.filter(conversation__owner_id=self.alice.user_id).oldest_first()[0]
        Message.objects.filter(pk=first.pk).update(content="a lighthouse")
        self.say(self.alice, "a fourth one")
        self.index()
        self.assertEqual((self.load(self.alice).size, self.load(self.bob).size), (4, 3))

    def test_the_least_recently_used_are_evicted(self):
        for who in (self.alice, self.bob, self.alice):
            self.load(who)
        self.assertEqual(self.owners(), {self.alice.user_id, self.bob.user_id})
        self.assertEqual(self.cache._bytes, self.load(self.bob).nbytes + self.load(self.alice).nbytes)
        with override_settings(SEARCH_CACHE_MB=0):
            self.load(self.alice)
        self.assertEqual(self.owners(), {self.alice.user_id})
        self.assertEqual(self.cache._bytes, self.load(self.alice).nbytes)
        self.assertEqual(self.load(self.bob).size, 3)

    def test_nothing_is_cached_for_deleted_accounts(self):
        for who in (self.alice, self.bob):
            self.load(who)
        IndexPartition.objects.filter(owner_id=self.bob.user_id).delete()
        with patch.object(vector_cache, "EVICTION_SECONDS", 0.0):
            self.load(self.alice)
        self.assertEqual(len(self.cache._cached), 1)
        self.assertEqual(self.cache._bytes, self.load(self.alice).nbytes)
