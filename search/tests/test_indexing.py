"""The index follows the messages, whoever writes them; after a deletion no trace is left."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from unittest import skipUnless
from unittest.mock import patch

import numpy as np
from django.core.management import call_command
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from accounts.callers import Principal
from accounts.services import delete_user, register_user
from chatservice.testing import KeptTablesTestCase, stop_shared_service
from conversations.models import Conversation, Message
from conversations.services import (
    append_message,
    delete_conversation,
    delete_message,
    reset_conversation,
    start_conversation,
)
from search import indexing
from search.backends import backend
from search.claims import claim
from search.embedders import Options, loading
from search.embedders.hashing import HashingEmbedder
from search.indexer import BUSY_BATCH, Indexer
from search.models import Embedder, Entry, IndexPartition, Passage, PendingMessage
from search.queries import Mode, search_messages
from search.tests.case import SearchTestCase, drop_triggers


class FollowsTest(SearchTestCase):
    def test_every_way_of_writing_is_noticed(self):
        conversation = start_conversation(owner_id=self.alice.user_id)
        Message.objects.bulk_create(
            Message(conversation=conversation, position=at, role="user", content=f"bulk {at}") for at in (1, 2)
        )
        Conversation.objects.filter(pk=conversation.pk).update(next_position=3)
        conversation.refresh_from_db()
        with connection.cursor() as cursor:
            placeholder = append_message(conversation=conversation, role="assistant", content="")
            self.assertFalse(PendingMessage.objects.filter(pk=placeholder.pk).exists())
            value = placeholder.pk if connection.features.has_native_uuid_field else placeholder.pk.hex
            cursor.execute("UPDATE conversations_message SET content = %s WHERE id = %s", ["by hand", value])
        self.assertEqual(PendingMessage.objects.count(), 3)
        for query in ("bulk 2", "hand"):
            self.assertTrue(self.found(self.alice, query, mode=Mode.TEXT))
        self.index()
        self.assertFalse(PendingMessage.objects.exists())
        self.assertEqual(Passage.objects.count(), 3)

    def test_a_change_is_followed_by_both_halves(self):
        _, [first, second, third] = self.talk(self.alice, "about whales", "yes", "and then")
        self.index()
        Message.objects.filter(pk=first.pk).update(content="about lighthouses")
        self.assertEqual(set(PendingMessage.objects.values_list("pk", flat=True)), {first.pk, second.pk, third.pk})
        self.assertEqual(self.found(self.alice, "whales", mode=Mode.TEXT), [])
        self.assertEqual(self.found(self.alice, "lighthouses", mode=Mode.TEXT), ["about lighthouses"])
        self.index()
        self.assertEqual(Passage.objects.count(), 3)
        Message.objects.filter(pk=first.pk).update(content="")
        self.index()
        self.assertEqual(self.found(self.alice, "lighthouses", mode=Mode.TEXT), [])
        self.assertEqual((Entry.objects.count(), Passage.objects.count()), (2, 2))

    def test_nothing_is_noted_when_nothing_that_counts_changed(self):
        conversation, [message] = self.talk(self.alice, "a whale")
        self.index()
        Message.objects.filter(pk=message.pk).update(content="a whale", usage={"total_tokens": 1})
        Conversation.objects.filter(pk=conversation.pk).update(end_user="x")
        self.assertFalse(PendingMessage.objects.exists())

    def test_turns_that_move_up_are_linked_anew(self):
        _, [_, second, third] = self.talk(self.alice, "regatta", "hm", "It was Maren")
        self.index()
        delete_message(message=second)
        self.index()
        entry = Entry.objects.get(message_id=third.pk)
        self.assertEqual((entry.previous_1, entry.previous_2), (Entry.objects.earliest("pk").pk, None))

    def test_what_goes_leaves_no_trace(self):
        for how in ("message", "conversation", "reset", "user", "SQL"):
            with self.subTest(how):
                user = register_user(username=f"eve-{how}")
                eve = Principal(user_id=user.pk, username=user.username)
                conversation, [message, _] = self.talk(eve, "a white whale", "another whale")
                self.index()
                append_message(conversation=conversation, role="user", content="a whale nobody indexed")
                self.assertTrue(search_messages(eve, "whale", mode=Mode.SEMANTIC).hits)
                match how:
                    case "message":
                        for each in Message.objects.of(conversation.pk):
                            delete_message(message=each)
                    case "conversation":
                        delete_conversation(conversation=conversation)
                    case "reset":
                        reset_conversation(conversation=conversation)
                    case "user":
                        delete_user(user=user)
                    case "SQL":
                        Conversation.objects.update(head=None)
                        with connection.cursor() as cursor:
                            cursor.execute("DELETE FROM conversations_message")
                self.assertEqual(
                    [model.objects.count() for model in (Entry, Passage, PendingMessage)], [0, 0, 0], message.pk
                )
                for mode in Mode:
                    self.assertEqual(search_messages(eve, "whale", mode=mode).hits, ())
        self.assertFalse(IndexPartition.objects.filter(owner__username="eve-user").exists())

    def test_what_the_triggers_missed_is_found(self):
        drop_triggers()
        self.say(self.alice, "a whale")
        missed = PendingMessage.objects.count() == 0
        backend().install()
        PendingMessage.objects.all().delete()
        self.assertTrue(missed or connection.vendor == "postgresql")
        self.assertEqual(indexing.note_missing(), 1)
        self.assertEqual(indexing.note_missing(), 0)
        self.assertEqual(self.found(self.alice, "whale", mode=Mode.TEXT), ["a whale"])

    def test_what_was_deleted_while_no_trigger_watched_is_forgotten(self):
        kept = self.say(self.alice, "a white whale")
        gone = self.say(self.alice, "a black whale")
        self.index()
        drop_triggers()
        try:
            Message.objects.filter(pk=gone.pk).delete()
        finally:
            was_unwatched = backend().install()
        self.assertEqual(was_unwatched, connection.vendor == "sqlite")
        indexing.forget_gone()
        self.assertEqual(list(Entry.objects.values_list("message_id", flat=True)), [kept.pk])
        self.assertEqual(Passage.objects.count(), 1)
        self.assertEqual(self.found(self.alice, "whale", mode=Mode.TEXT), ["a white whale"])

    @skipUnless(connection.vendor == "postgresql", "SQLite looks each row up in an index")
    def test_looking_over_everything_joins_and_does_not_search_a_list_for_each_row(self):
        self.say(self.alice, "a whale")
        self.index()
        with CaptureQueriesContext(connection) as asked:
            indexing.forget_gone()
            indexing.note_missing()
            indexing.note_outdated(loading.current())
        looked = [query["sql"] for query in asked if "EXISTS" in query["sql"]]
        self.assertEqual(len(looked), 5, "entries and work without a message; messages, with and without text; entries")
        for query in [query["sql"] for query in asked]:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {query.replace('%', '%%')}")
                self.assertNotIn("SubPlan", str(cursor.fetchall()), query)

    def test_a_start_with_nothing_to_migrate_leaves_the_triggers_alone(self):
        self.say(self.alice, "a whale")
        self.index()
        with CaptureQueriesContext(connection) as asked:
            call_command("migrate", verbosity=0)
        statements = [query["sql"].upper() for query in asked.captured_queries]
        self.assertTrue(statements)
        self.assertEqual([each for each in statements if "DROP TRIGGER" in each or "CREATE TRIGGER" in each], [])
        self.assertFalse(backend().install())

    def test_an_idle_indexer_takes_no_lock(self):
        self.say(self.alice, "a whale")
        self.index()
        indexer = Indexer(embedder=loading.current, semantic_checked=True)
        while indexer.step():
            pass
        with CaptureQueriesContext(connection) as asked:
            self.assertFalse(indexer.step())
        statements = [query["sql"] for query in asked.captured_queries]
        self.assertTrue(statements)
        self.assertEqual([each for each in statements if not each.startswith("SELECT") or "FOR UPDATE" in each], [])

    def test_an_indexer_whose_peer_has_claimed_everything_takes_no_lock(self):
        self.say(self.alice, "a whale")
        indexing.index_text()
        self.assertEqual(len(claim(PendingMessage.Stage.SEMANTIC, 9, 60.0)), 1)
        with CaptureQueriesContext(connection) as asked:
            self.assertEqual(indexing.index_semantic(HashingEmbedder(64)), 0)
        self.assertEqual([each["sql"] for each in asked.captured_queries if not each["sql"].startswith("SELECT")], [])

    def test_while_answers_are_written_only_small_batches_are_indexed(self):
        for number in range(BUSY_BATCH + 3):
            self.say(self.alice, f"whale {number}")
        answering, done = [True], list[int]()
        indexer = Indexer(embedder=loading.current, done=done.append, busy=lambda: bool(answering))
        self.assertTrue(indexer.step())
        self.assertEqual(Entry.objects.count(), BUSY_BATCH)
        self.assertTrue(indexer.step())
        self.assertTrue(indexer.step())
        self.assertEqual((Entry.objects.count(), done), (BUSY_BATCH + 3, [BUSY_BATCH]))
        with patch.object(backend(), "compact") as compact:
            while indexer.step():
                pass
            compact.assert_not_called()
        self.assertEqual(Passage.objects.count(), BUSY_BATCH + 3)
        answering.clear()
        for number in range(BUSY_BATCH + 3):
            self.say(self.alice, f"another whale {number}")
        self.assertTrue(indexer.step())
        self.assertEqual(Entry.objects.count(), 2 * (BUSY_BATCH + 3))

    def test_another_language_is_another_index(self):
        self.say(self.alice, "die Häuser am Meer")
        self.index()
        with override_settings(SEARCH_LANGUAGE="german"):
            self.assertEqual(self.found(self.alice, "haus", mode=Mode.TEXT), [])
            indexing.note_everything()
            self.assertEqual(len(self.found(self.alice, "haus", mode=Mode.TEXT)), 1)

    def test_long_messages_are_found_by_their_end(self):
        self.say(self.alice, "nothing " * 2000 + "the lighthouse keeper")
        self.say(self.alice, "nothing of it")
        self.index()
        self.assertGreater(Passage.objects.count(), 4)
        [hit, *_] = search_messages(self.alice, "lighthouse keeper", mode=Mode.SEMANTIC).hits
        self.assertIn("lighthouse", hit.snippet)

    def test_claimed_work_is_nobody_elses_and_comes_back_when_its_worker_dies(self):
        for number in range(4):
            self.say(self.alice, f"whale {number}")
        indexing.index_text()
        stage = PendingMessage.Stage.SEMANTIC
        first, second = claim(stage, 3, 60.0), claim(stage, 3, -1.0)
        self.assertEqual((len(first), len(second)), (3, 1))
        self.assertEqual(claim(stage, 9, 60.0).keys(), second.keys())
        PendingMessage.objects.update(claimed_until=0)
        self.index()
        self.assertEqual(Passage.objects.count(), 4)

    def test_what_changes_while_it_is_embedded_is_embedded_again(self):
        message = self.say(self.alice, "a whale")
        indexing.index_text()

        class Meanwhile(HashingEmbedder):
            def embed(self, texts: Sequence[str]) -> np.ndarray:
                Message.objects.filter(pk=message.pk).update(content="a lighthouse")
                return super().embed(texts)

        indexing.index_semantic(Meanwhile(64))
        self.assertEqual(Passage.objects.count(), 0)
        self.index()
        self.assertEqual(self.found(self.alice, "lighthouse", mode=Mode.SEMANTIC), ["a lighthouse"])

    def test_another_embedder_takes_over_while_the_old_vectors_answer(self):
        for text in ("a whale", "a lighthouse", "a harbour"):
            self.say(self.alice, text)
        self.index()
        with override_settings(SEARCH_EMBEDDER="hashing:32"):
            indexer = Indexer(embedder=loading.current)
            self.assertEqual(self.found(self.alice, "lighthouse", mode=Mode.SEMANTIC, limit=1), ["a lighthouse"])
            indexer.step()  # queues what the old embedder indexed
            self.assertEqual(PendingMessage.objects.count(), 3)
            self.assertEqual(self.found(self.alice, "lighthouse", mode=Mode.SEMANTIC, limit=1), ["a lighthouse"])
            while indexer.step():
                pass
            self.assertEqual(set(Passage.objects.values_list("embedder__name", flat=True)), {"hashing:32"})
            self.assertEqual(set(Embedder.objects.values_list("name", flat=True)), {"hashing:32"})
            self.assertEqual(self.found(self.alice, "lighthouse", mode=Mode.SEMANTIC, limit=1), ["a lighthouse"])

    def test_vectors_of_minilm_are_searched_by_its_eight_bits_without_loading_it(self):
        for text in ("a whale", "a lighthouse", "a harbour"):
            self.say(self.alice, text)
        self.index()
        Embedder.objects.update(name="minilm")
        loading.forget()
        eight_bits = HashingEmbedder(64)  # stands for it, so that nothing large is loaded here
        eight_bits.name = "minilm-int8"
        with override_settings(SEARCH_EMBEDDER="minilm-int8"), patch.object(loading, "start") as start:
            answered = search_messages(self.alice, "lighthouse")  # while it is still being loaded
            self.assertEqual((answered.mode, len(answered.hits)), (Mode.TEXT, 1))
            with patch.dict(loading.loader.loaded, {("minilm-int8", Options()): eight_bits}):
                self.assertEqual(self.found(self.alice, "lighthouse", mode=Mode.SEMANTIC, limit=1), ["a lighthouse"])
                indexer = Indexer(embedder=loading.current)
                while indexer.step():
                    pass
                self.assertEqual(set(Embedder.objects.values_list("name", flat=True)), {"minilm-int8"})
                self.assertEqual(self.found(self.alice, "lighthouse", mode=Mode.SEMANTIC, limit=1), ["a lighthouse"])
        self.assertEqual({call.args for call in start.call_args_list}, {("",)})


class Counting(HashingEmbedder):
    """Records which texts of one test it was given."""

    def __init__(self, marker: str) -> None:
        super().__init__(64)
        self.marker = marker
        self.given: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.given += [text for text in texts if self.marker in text]
        return super().embed(texts)


class TogetherTest(KeptTablesTestCase):
    def test_several_indexers_do_everything_once(self):
        stop_shared_service()  # its indexer would do a part of the work
        marker = f"whale{uuid.uuid4().hex[:8]}"
        user = register_user(username=f"alice-{marker}")
        with transaction.atomic():
            conversation = start_conversation(owner_id=user.pk)
            for number in range(60):
                append_message(conversation=conversation, role="user", content=f"number {number}", author=marker)
        embedder = Counting(marker)

        def work() -> None:
            try:
                while True:
                    did = indexing.index_text(limit=7) + indexing.index_semantic(embedder, limit=5)
                    if not did and not PendingMessage.objects.filter(owner_id=user.pk).exists():
                        return
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        messages = Message.objects.filter(conversation=conversation)
        entries = Entry.objects.filter(message_id__in=messages.values("id"))
        numbers = list(entries.values_list("id", flat=True))
        self.assertEqual((len(embedder.given), len(set(embedder.given))), (60, 60))
        self.assertEqual(len(numbers), 60)
        self.assertEqual(Passage.objects.filter(entry_id__in=numbers).count(), 60)
        chain = list(entries.order_by("message_id").values_list("id", "previous_1"))
        self.assertEqual([previous for _, previous in chain[1:]], [pk for pk, _ in chain[:-1]])
