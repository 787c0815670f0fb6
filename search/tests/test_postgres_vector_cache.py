"""On PostgreSQL a process caches the vectors of large owners: its results match the database's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from unittest import skipUnless
from unittest.mock import patch

import numpy as np
from django.db import connection, transaction
from django.test import override_settings

from accounts.services import delete_user, register_user
from chatservice.testing import KeptTablesTestCase, wait_until
from conversations.models import Message
from conversations.services import delete_message
from search.backends import backend, postgres
from search.backends.base import NewPassage
from search.backends.postgres import PostgresBackend
from search.embedders import loading
from search.indexing import embedder_number
from search.models import PARTITION_SHIFT, IndexPartition, Passage
from search.queries import Mode, search_messages
from search.tests.case import SearchTestCase

on_postgres = skipUnless(connection.vendor == "postgresql", "SQLite caches all vectors, see test_vector_cache.py")


def load_now(self: PostgresBackend, partition: int, embedder_id: int, dimensions: int) -> None:
    """Load in this thread: other threads cannot see the test's transaction."""
    with connection.cursor() as cursor:
        self._cache.load(cursor, partition, embedder_id, dimensions)


@on_postgres
@patch.object(postgres, "MIN_CACHED_ENTRIES", 1)
@patch.object(PostgresBackend, "_begin_to_load", load_now)
class CachedVectorsTest(SearchTestCase):
    def setUp(self) -> None:
        super().setUp()
        words = ("whale", "harbour", "soup", "keeper", "lighthouse", "captain", "storm", "letter")
        self.messages = [
            self.say(self.alice, f"{one} and {other}, number {at}") for at, one in enumerate(words) for other in words
        ]
        self.say(self.bob, "whale and whale, number 0")
        self.index()
        self.partition = IndexPartition.objects.get(owner_id=self.alice.user_id).pk
        self.embedder = loading.current()
        self.number = embedder_number(self.embedder)

    def nearest(self, text: str, count: int = 5, allowed: np.ndarray | None = None) -> tuple[list[int], np.ndarray]:
        [vector] = self.embedder.embed([text])
        entries, cosines = backend().nearest([self.partition], self.number, vector, count, allowed)
        return entries.tolist(), cosines

    def by_the_database(self, *asked: object) -> tuple[list[int], np.ndarray]:
        with patch.object(PostgresBackend, "_nearest_cached", return_value=None):
            return self.nearest(*asked)  # type: ignore[arg-type]

    def agree(self) -> None:
        some = np.array([self.partition << PARTITION_SHIFT | seq for seq in range(3, 40, 2)])
        for text in ("whale", "a letter from the harbour", "number 3"):
            for allowed in (None, some):
                expected = self.by_the_database(text, 5, allowed)
                cached = self.nearest(text, 5, allowed)
                np.testing.assert_allclose(cached[1], expected[1], atol=1e-5)
                # Equally near passages may come in another order, and the last of them may differ.
                clear = expected[1] > expected[1][-1] + 1e-4
                self.assertEqual(
                    {entry for entry, is_clear in zip(cached[0], clear, strict=True) if is_clear},
                    {entry for entry, is_clear in zip(expected[0], clear, strict=True) if is_clear},
                )

    def is_cached(self) -> bool:
        with connection.cursor() as cursor:
            return backend()._cache.get(cursor, self.partition, self.number) is not None

    def test_it_finds_what_the_database_finds(self):
        self.nearest("to begin with")
        self.assertTrue(self.is_cached())
        self.agree()

    def test_what_comes_changes_and_goes_is_noticed(self):
        self.nearest("to begin with")
        added = self.say(self.alice, "the whale whale whale")
        self.index()
        self.agree()
        Message.objects.filter(pk=added.pk).update(content="soup soup")
        self.index()
        self.agree()
        for message in self.messages[:20]:
            delete_message(message=message)
        self.agree()
        self.assertEqual(sorted(self.nearest("whale", 500)[0]), sorted(self.by_the_database("whale", 500)[0]))
        Message.objects.filter(conversation__owner_id=self.alice.user_id).delete()
        self.assertEqual(self.nearest("whale")[0], [])

    def test_a_search_says_the_same_with_and_without(self):
        def found() -> list[tuple[str, float]]:
            hits = search_messages(self.alice, "whale at the harbour", mode=Mode.HYBRID).hits
            return [(hit.message.content, round(hit.score, 4)) for hit in hits]

        with patch.object(postgres, "MIN_CACHED_ENTRIES", 10**9):
            expected = found()
        found()
        self.assertTrue(self.is_cached())
        self.assertEqual(found(), expected)

    def test_what_is_too_much_for_the_cache_stays_in_the_database(self):
        with override_settings(SEARCH_CACHE_MB=0):
            self.nearest("whale")
            self.assertFalse(self.is_cached())


@on_postgres
class TogetherTest(KeptTablesTestCase):
    def setUp(self) -> None:
        loading.forget()
        self.user = register_user(username="cached-vectors")
        self.addCleanup(delete_user, user=self.user)
        self.partition = IndexPartition.objects.create(owner=self.user, next_seq=100)
        self.number = embedder_number(loading.current())
        self.addCleanup(lambda: Passage.objects.filter(partition_id=self.partition.pk).delete())

    def passages(self, *numbers: int) -> list[NewPassage]:
        vectors = loading.current().embed([f"number {number}" for number in numbers])
        first = self.partition.pk << PARTITION_SHIFT
        return [
            NewPassage(first | number, self.partition.pk, self.number, 0, 9, vector)
            for number, vector in zip(numbers, vectors, strict=True)
        ]

    def write(self, numbers: tuple[int, ...], meanwhile: Callable[[], None] = lambda: None) -> None:
        try:
            with transaction.atomic():
                backend().write_passages(self.passages(*numbers))
                meanwhile()
        finally:
            if threading.current_thread() is not threading.main_thread():
                connection.close()

    def numbers(self) -> list[int]:
        ids = Passage.objects.filter(partition_id=self.partition.pk).order_by("id").values_list("entry_id", flat=True)
        return [entry & ((1 << PARTITION_SHIFT) - 1) for entry in ids]

    def test_passages_of_a_partition_become_visible_in_the_order_of_their_ids(self):
        later = threading.Thread(target=self.write, args=((2,),))

        def meanwhile() -> None:
            later.start()
            wait_until(self.somebody_waits)

        self.write((1,), meanwhile)
        later.join(10)
        self.assertEqual(self.numbers(), [1, 2])

    def somebody_waits(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            return cursor.fetchone() is not None

    def test_loading_is_done_beside_the_first_searches(self):
        self.write(tuple(range(1, 30)))
        [vector] = loading.current().embed(["number 7"])
        fresh = PostgresBackend()
        with patch.object(postgres, "MIN_CACHED_ENTRIES", 50), connection.cursor() as cursor:
            expected = fresh.nearest([self.partition.pk], self.number, vector, 3, None)
            wait_until(lambda: fresh._cache.get(cursor, self.partition.pk, self.number) is not None)
            cached = fresh.nearest([self.partition.pk], self.number, vector, 3, None)
        self.assertEqual(cached[0][0], expected[0][0])
        np.testing.assert_allclose(cached[1], expected[1], atol=1e-5)
