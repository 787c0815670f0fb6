"""On PostgreSQL a process keeps the vectors of an owner with much: it finds what the database would find, at once."""

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
from search.models import SPACE_BITS, Passage, Space
from search.queries import Mode, search_messages
from search.tests.people import SearchTestCase

on_postgres = skipUnless(connection.vendor == "postgresql", "SQLite keeps all vectors in memory, see test_shelves.py")


def load_now(self: PostgresBackend, space: int, embedder_id: int, dimensions: int) -> None:
    """Load in the test's own transaction, which no thread could look into."""
    with connection.cursor() as cursor:
        self._shelves.open(cursor, space, embedder_id, dimensions)


@on_postgres
@patch.object(postgres, "MUCH", 1)
@patch.object(PostgresBackend, "_begin_to_load", load_now)
class KeptVectorsTest(SearchTestCase):
    def setUp(self) -> None:
        super().setUp()
        words = ("whale", "harbour", "soup", "keeper", "lighthouse", "captain", "storm", "letter")
        self.said = [
            self.say(self.alice, f"{one} and {other}, number {at}") for at, one in enumerate(words) for other in words
        ]
        self.say(self.bob, "whale and whale, number 0")
        self.index()
        self.space = Space.objects.get(owner_id=self.alice.user_id).pk
        self.embedder = loading.current()
        self.number = embedder_number(self.embedder)

    def nearest(self, text: str, count: int = 5, allowed: np.ndarray | None = None) -> tuple[list[int], np.ndarray]:
        [vector] = self.embedder.embed([text])
        entries, cosines = backend().nearest([self.space], self.number, vector, count, allowed)
        return entries.tolist(), cosines

    def by_the_database(self, *asked: object) -> tuple[list[int], np.ndarray]:
        with patch.object(PostgresBackend, "_from_shelf", return_value=None):
            return self.nearest(*asked)  # type: ignore[arg-type]

    def agree(self) -> None:
        some = np.array([self.space << SPACE_BITS | seq for seq in range(3, 40, 2)])
        for text in ("whale", "a letter from the harbour", "number 3"):
            for allowed in (None, some):
                expected = self.by_the_database(text, 5, allowed)
                kept = self.nearest(text, 5, allowed)
                np.testing.assert_allclose(kept[1], expected[1], atol=1e-5)
                # Equally near ones may stand in another order, and the last of them be another.
                clear = expected[1] > expected[1][-1] + 1e-4
                self.assertEqual(
                    {entry for entry, is_clear in zip(kept[0], clear, strict=True) if is_clear},
                    {entry for entry, is_clear in zip(expected[0], clear, strict=True) if is_clear},
                )

    def keeps(self) -> bool:
        with connection.cursor() as cursor:
            return backend()._shelves.loaded(cursor, self.space, self.number) is not None  # type: ignore[attr-defined]

    def test_it_finds_what_the_database_finds(self):
        self.nearest("to begin with")
        self.assertTrue(self.keeps())
        self.agree()

    def test_what_comes_changes_and_goes_is_noticed(self):
        self.nearest("to begin with")
        added = self.say(self.alice, "the whale whale whale")
        self.index()
        self.agree()
        Message.objects.filter(pk=added.pk).update(content="soup soup")
        self.index()
        self.agree()
        for message in self.said[:20]:
            delete_message(message=message)
        self.agree()
        self.assertEqual(sorted(self.nearest("whale", 500)[0]), sorted(self.by_the_database("whale", 500)[0]))
        Message.objects.filter(conversation__owner_id=self.alice.user_id).delete()
        self.assertEqual(self.nearest("whale")[0], [])

    def test_a_search_says_the_same_with_and_without(self):
        def found() -> list[tuple[str, float]]:
            hits = search_messages(self.alice, "whale at the harbour", mode=Mode.HYBRID).hits
            return [(hit.message.content, round(hit.score, 4)) for hit in hits]

        with patch.object(postgres, "MUCH", 10**9):
            expected = found()
        found()
        self.assertTrue(self.keeps())
        self.assertEqual(found(), expected)

    def test_what_is_too_much_for_memory_stays_in_the_database(self):
        with override_settings(SEARCH_CACHE_MB=0):
            self.nearest("whale")
            self.assertFalse(self.keeps())


@on_postgres
class TogetherTest(KeptTablesTestCase):
    def setUp(self) -> None:
        loading.forget()
        self.user = register_user(username="kept-vectors")
        self.addCleanup(delete_user, user=self.user)
        self.space = Space.objects.create(owner=self.user, next_seq=100)
        self.number = embedder_number(loading.current())
        self.addCleanup(lambda: Passage.objects.filter(space_id=self.space.pk).delete())

    def passages(self, *numbers: int) -> list[NewPassage]:
        vectors = loading.current().embed([f"number {number}" for number in numbers])
        first = self.space.pk << SPACE_BITS
        return [
            NewPassage(first | number, self.space.pk, self.number, 0, 9, vector)
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
        ids = Passage.objects.filter(space_id=self.space.pk).order_by("id").values_list("entry_id", flat=True)
        return [entry & ((1 << SPACE_BITS) - 1) for entry in ids]

    def test_passages_of_a_space_become_visible_in_the_order_of_their_ids(self):
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
        with patch.object(postgres, "MUCH", 50), connection.cursor() as cursor:
            expected = fresh.nearest([self.space.pk], self.number, vector, 3, None)
            wait_until(lambda: fresh._shelves.loaded(cursor, self.space.pk, self.number) is not None)
            kept = fresh.nearest([self.space.pk], self.number, vector, 3, None)
        self.assertEqual(kept[0][0], expected[0][0])
        np.testing.assert_allclose(kept[1], expected[1], atol=1e-5)
