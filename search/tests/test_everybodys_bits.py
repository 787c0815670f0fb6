"""On PostgreSQL a process caches two bits a dimension of everybody's vectors: staff find what an exact scan finds."""

from __future__ import annotations

import threading
from unittest import skipUnless
from unittest.mock import patch

import numpy as np
from django.db import connection, transaction
from django.test import override_settings

from accounts.services import delete_user, register_user
from chatservice.testing import KeptTablesTestCase, wait_until
from conversations.services import append_message, delete_message, start_conversation
from search import indexing
from search.backends import backend, everybodys_bits, postgres
from search.backends.base import NewPassage
from search.backends.everybodys_bits import EmbedderBits, Settled, bytes_per_passage
from search.backends.postgres import PostgresBackend
from search.embedders import loading
from search.models import PARTITION_SHIFT, Embedder, IndexPartition, Passage

DIMENSIONS = 100  # no multiple of eight
SIZE = 3_000


def ready(bits: EmbedderBits) -> Settled:
    assert bits.settled is not None
    return bits.settled


def unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype("f4")
    return unit


class SmallStore(KeptTablesTestCase):
    def setUp(self) -> None:
        self.random = np.random.default_rng(1)
        # A small store is searched as a large one.
        for name, value in (("MIN_PASSAGES", 1), ("CANDIDATES", 150), ("MAX_SHARE", 2)):
            self.enterContext(patch.object(everybodys_bits, name, value))
        self.backend = PostgresBackend()
        self.addCleanup(self.end)

    def end(self) -> None:
        """End the thread that keeps the bits."""
        with patch.object(everybodys_bits, "IDLE_SECONDS", -1.0):
            wait_until(lambda: not self.backend._bits._by_embedder)

    def load(self, number: int, dimensions: int) -> EmbedderBits:
        """Load without the thread: the test tells when to refresh."""
        bits = EmbedderBits(number, dimensions, postgres.WRITE_LOCK)
        self.backend._bits._by_embedder[number] = bits
        self.addCleanup(self.backend._bits._by_embedder.clear)
        self.refresh(bits)
        return bits

    def refresh(self, bits: EmbedderBits, room: int = 2**30) -> None:
        with connection.cursor() as cursor:
            bits.refresh(cursor, room)


@skipUnless(connection.vendor == "postgresql", "SQLite caches all vectors")
class EverybodysBitsTest(SmallStore):
    def setUp(self) -> None:
        super().setUp()
        self.number = Embedder.objects.create(name="made up", dimensions=DIMENSIONS).pk
        self.addCleanup(lambda: Embedder.objects.filter(pk=self.number).delete())
        self.partitions = [self.partition("one"), self.partition("other")]
        self.addCleanup(lambda: Passage.objects.filter(embedder_id=self.number).delete())
        self.written = 0

    def partition(self, name: str) -> int:
        user = register_user(username=f"bits-{name}")
        self.addCleanup(delete_user, user=user)
        return IndexPartition.objects.create(owner=user, next_seq=SIZE).pk

    def write(self, vectors: np.ndarray, at: int = 0) -> list[int]:
        """Write passages in one of the partitions; returns their entries."""
        partition = self.partitions[at]
        entries = [partition << PARTITION_SHIFT | self.written + n for n in range(1, len(vectors) + 1)]
        self.written += len(vectors)
        with transaction.atomic():
            backend().write_passages(
                [
                    NewPassage(entry, partition, self.number, 0, 9, vector)
                    for entry, vector in zip(entries, vectors, strict=True)
                ]
            )
        return entries

    def clustered(self, count: int) -> np.ndarray:
        centres = self.random.standard_normal((40, DIMENSIONS))
        return unit(
            centres[self.random.integers(0, 40, count)] + 0.8 * self.random.standard_normal((count, DIMENSIONS))
        )

    def scattered(self, count: int) -> np.ndarray:
        return unit(self.random.standard_normal((count, DIMENSIONS)))

    def nearest(self, vector: np.ndarray, count: int = 10) -> list[int]:
        return self.backend.nearest(None, self.number, vector, count, None)[0].tolist()

    def by_bits(self, vector: np.ndarray, count: int = 10) -> list[int]:
        with patch.object(PostgresBackend, "_scan", side_effect=AssertionError("the database scans everything")):
            return self.nearest(vector, count)

    def by_the_database(self, vector: np.ndarray, count: int = 10) -> list[int]:
        with patch.object(PostgresBackend, "_nearest_of_all", return_value=None):
            return self.nearest(vector, count)

    def test_it_finds_what_an_exact_scan_finds(self):
        for name, vectors in (("clustered", self.clustered(SIZE)), ("scattered", self.scattered(SIZE))):
            with self.subTest(name):
                Passage.objects.filter(embedder_id=self.number).delete()
                self.write(vectors)
                self.load(self.number, DIMENSIONS)
                questions = [*self.scattered(30), *unit(vectors[:30] + 0.05 * self.scattered(30))]
                found = sum(len({*self.by_bits(each)} & {*self.by_the_database(each)}) for each in questions)
                self.assertGreaterEqual(found / 10 / len(questions), 0.98)

    def test_the_distances_are_exact_and_in_order(self):
        vectors = self.scattered(500)
        self.write(vectors)
        self.load(self.number, DIMENSIONS)
        _, cosines = self.backend.nearest(None, self.number, vectors[7], 10, None)
        np.testing.assert_allclose(cosines, np.sort(vectors @ vectors[7])[::-1][:10], atol=2e-3)

    def test_blocks_grow_together(self):
        with patch.object(everybodys_bits, "READ_ROWS", 128):
            vectors = self.scattered(500)
            entries = self.write(vectors[:300])
            bits = self.load(self.number, DIMENSIONS)
            entries += self.write(vectors[300:])
            self.refresh(bits)
        self.assertEqual(sum(len(block.ids) for block in ready(bits).blocks), 500)
        for at in (0, 127, 128, 299, 300, 499):
            self.assertEqual(self.by_bits(vectors[at])[0], entries[at])

    def test_what_is_new_is_found_at_once(self):
        self.write(self.scattered(500))
        self.load(self.number, DIMENSIONS)
        [vector] = self.scattered(1)
        [entry] = self.write(vector[None, :])
        self.assertEqual(self.by_bits(vector)[0], entry)

    def test_what_is_committed_late_is_found(self):
        """A passage with a smaller id than others that were visible before it."""
        self.write(self.scattered(500))
        bits = self.load(self.number, DIMENSIONS)
        [early, late] = self.scattered(2)
        written, may_commit = threading.Event(), threading.Event()

        def write_late() -> None:
            with transaction.atomic():
                self.late = self.write(late[None, :])
                written.set()
                may_commit.wait(10)
            connection.close()

        thread = threading.Thread(target=write_late)
        thread.start()
        self.addCleanup(thread.join, 10)
        self.addCleanup(may_commit.set)
        written.wait(10)
        [first] = self.write(early[None, :], at=1)
        ids = dict(Passage.objects.filter(embedder_id=self.number).values_list("entry_id", "id"))
        self.refresh(bits)
        unloaded = EmbedderBits(self.number, DIMENSIONS, postgres.WRITE_LOCK)
        self.refresh(unloaded)
        self.assertIsNone(unloaded.settled)  # nothing is settled as long as somebody writes
        self.assertEqual(self.by_bits(early)[0], first)
        may_commit.set()
        thread.join(10)
        self.assertEqual(self.by_bits(late)[0], self.late[0])
        self.assertLess(Passage.objects.get(embedder_id=self.number, entry_id=self.late[0]).pk, ids[first])
        self.refresh(bits)
        self.assertEqual(ready(bits).end, ids[first])
        self.assertEqual([self.by_bits(late)[0], self.by_bits(early)[0]], [self.late[0], first])

    def test_what_is_deleted_is_not_found_and_leaves(self):
        vectors = self.scattered(500)
        entries = self.write(vectors)
        with patch.object(everybodys_bits, "EVICTION_SECONDS", 0.0):
            bits = self.load(self.number, DIMENSIONS)
            gone = Passage.objects.filter(embedder_id=self.number, entry_id=entries[7])
            pk = gone.get().pk
            gone.delete()
            self.assertNotIn(entries[7], self.by_bits(vectors[7]))
            self.assertIn(pk, ready(bits).blocks[0].ids)
            self.refresh(bits)
            self.assertNotIn(pk, ready(bits).blocks[0].ids)
            self.assertEqual(self.by_bits(vectors[8])[0], entries[8])
            Passage.objects.filter(embedder_id=self.number).delete()
            self.assertEqual(self.nearest(vectors[8]), [])
            self.refresh(bits)
            self.assertEqual(bits.nbytes, 0)

    def test_what_is_left_is_found_when_every_candidate_is_gone(self):
        vectors = self.clustered(1_000)
        self.write(vectors)
        self.load(self.number, DIMENSIONS)
        near = np.array(self.by_the_database(vectors[0], 300))
        Passage.objects.filter(embedder_id=self.number, entry_id__in=near.tolist()).delete()
        self.assertEqual(self.nearest(vectors[0]), self.by_the_database(vectors[0]))

    def test_many_equal_passages_are_no_more_candidates(self):
        [vector, other] = self.scattered(2)
        self.write(np.vstack([np.repeat(vector[None, :], 900, axis=0), other]))
        bits = self.load(self.number, DIMENSIONS)
        found = bits.candidates(vector, 10)
        self.assertEqual(found and len(found.ids), 150 + 2 * 10)

    def test_without_room_the_database_scans(self):
        vectors = self.scattered(500)
        entries = self.write(vectors)
        with override_settings(SEARCH_CACHE_MB=0):
            self.assertEqual(self.nearest(vectors[0])[0], entries[0])
            self.assertEqual(self.backend._bits._by_embedder, {})
        bits = EmbedderBits(self.number, DIMENSIONS, postgres.WRITE_LOCK)
        self.refresh(bits, 500 * bytes_per_passage(DIMENSIONS) - 1)
        self.assertEqual((bits.nbytes, bits.fits), (0, False))
        self.refresh(bits)
        self.assertIsNone(bits.settled)  # not read again every few seconds

    def test_what_has_outgrown_its_room_is_dropped(self):
        self.write(self.scattered(300))
        bits = self.load(self.number, DIMENSIONS)
        self.assertEqual(bits.nbytes, 300 * bytes_per_passage(DIMENSIONS))
        self.write(self.scattered(1))
        self.refresh(bits, bits.nbytes)
        self.assertEqual(bits.nbytes, 0)

    def test_a_thread_loads_them_keeps_them_and_ends_when_they_are_not_used(self):
        vectors = self.scattered(500)
        entries = self.write(vectors)
        with (
            patch.object(everybodys_bits, "ADVANCE_SECONDS", 0.01),
            patch.object(everybodys_bits, "EVICTION_SECONDS", 0.0),
        ):
            self.assertEqual(self.nearest(vectors[3])[0], entries[3])  # by the database
            bits = self.backend._bits._by_embedder[self.number]
            wait_until(lambda: not self.backend.is_loading)
            self.assertEqual(self.by_bits(vectors[3])[0], entries[3])
            wait_until(lambda: self.backend._cache.reserved == bits.nbytes)
            self.write(self.scattered(1))
            wait_until(lambda: ready(bits).size == 501)
            Passage.objects.filter(entry_id__in=entries[:100]).delete()
            wait_until(lambda: ready(bits).size == 401)
            self.end()
        self.assertEqual(self.backend._cache.reserved, 0)


@skipUnless(connection.vendor == "postgresql", "SQLite caches all vectors")
class MessagesTest(SmallStore):
    def test_bits_of_deleted_messages_and_accounts_leave(self):
        loading.forget()
        number = indexing.embedder_number(loading.current())
        before = Passage.objects.count()
        for name in ("bits-stays", "bits-goes"):
            user = register_user(username=name)
            talk = start_conversation(owner_id=user.pk)
            said = [append_message(conversation=talk, role="user", content=f"whale number {at}") for at in range(3)]
            if name == "bits-stays":
                self.addCleanup(delete_user, user=user)
        while indexing.index_text() or indexing.index_semantic(loading.current()):
            pass
        with patch.object(everybodys_bits, "EVICTION_SECONDS", 0.0):
            bits = self.load(number, loading.current().dimensions)
            self.assertEqual(ready(bits).size, before + 6)
            delete_message(message=said[2])
            self.refresh(bits)
            self.assertEqual(ready(bits).size, before + 5)
            delete_user(user=user)
            self.refresh(bits)
            self.assertEqual(ready(bits).size, before + 3)
