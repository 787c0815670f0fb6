"""A message that carries a file is found by what the file says: by its owner, as long as both are there."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.callers import Principal
from conversations.models import Conversation, Message
from conversations.services import append_message, delete_message, start_conversation
from files.models import File, FileText
from files.public_ids import public_id
from search import indexing
from search.embedders import loading
from search.models import Entry, IndexPartition, Passage, PendingMessage
from search.passages import MAX_FILE_WINDOWS
from search.queries import Hit, Mode, search_everybody, search_messages
from search.reanalysis import remake_terms
from search.tests.case import SearchTestCase

REPORT = "Minutes of the meeting. The treasurer resigned because of the missing narwhal. Nobody objected."


class FilesCase(SearchTestCase):
    def file(self, who: Principal, name: str = "minutes.pdf", sha256: str = "") -> File:
        sha256 = sha256 or f"{File.objects.count():064x}"
        file = File.objects.create(
            owner_id=who.user_id, sha256=sha256, size=9, media_type="application/pdf", name=name, purpose="user_data"
        )
        FileText.objects.bulk_create([FileText(owner_id=who.user_id, sha256=sha256)], ignore_conflicts=True)
        return file

    def read(self, file: File, text: str = REPORT) -> None:
        texts = FileText.objects.of(file.owner_id, file.sha256)
        texts.update(state="read", text=text, chars=len(text))

    def send(self, who: Principal, text: str, *files: File) -> Message:
        conversation = start_conversation(owner_id=who.user_id, title="")
        return self.add(conversation, text, *files)

    def add(self, conversation: Conversation, text: str, *files: File) -> Message:
        parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
        parts += [{"type": "file", "file": {"file_id": public_id(file.pk)}} for file in files]
        return append_message(conversation=conversation, role="user", content=text, extras={"content": parts})

    def hits(self, who: Principal, query: str, **how: Any) -> tuple[Hit, ...]:
        return search_messages(who, query, **how).hits

    def ids(self, who: Principal, query: str, **how: Any) -> list[Any]:
        return [hit.message.pk for hit in self.hits(who, query, **how)]


class FoundTest(FilesCase):
    def test_it_is_found_once_it_is_read(self) -> None:
        file = self.file(self.alice)
        message = self.send(self.alice, "What does it say?", file)
        self.index()
        self.assertEqual(self.ids(self.alice, "narwhal", mode=Mode.TEXT), [])
        self.read(file)
        for mode in (Mode.TEXT, Mode.HYBRID):
            self.assertEqual(self.ids(self.alice, "narwhals", mode=mode), [message.pk])
        self.index()
        for mode in Mode:
            self.assertEqual(self.ids(self.alice, "the missing narwhal", mode=mode), [message.pk])

    def test_a_file_that_was_read_before_the_message_came(self) -> None:
        file = self.file(self.alice)
        self.read(file)
        for text in ("What does it say?", ""):
            message = self.send(self.alice, text, file)
            self.assertIn(message.pk, self.ids(self.alice, "narwhal"))

    def test_a_message_without_text(self) -> None:
        file = self.file(self.alice)
        message = self.send(self.alice, "", file)
        self.index()
        self.assertFalse(Entry.objects.filter(message_id=message.pk).exists())
        self.read(file)
        self.index()
        for mode in Mode:
            self.assertEqual(self.ids(self.alice, "narwhal", mode=mode), [message.pk])
        self.assertFalse(PendingMessage.objects.exists())

    def test_the_hit_shows_what_the_file_says(self) -> None:
        file = self.file(self.alice)
        self.read(file, f"{'Other matters were discussed. ' * 3_000}{REPORT}")
        self.send(self.alice, "What does it say?", file)
        [hit] = self.hits(self.alice, "missing narwhals", mode=Mode.TEXT)
        self.assertTrue(hit.snippet.startswith("minutes.pdf: "), hit.snippet)
        self.assertEqual([hit.snippet[start:end] for start, end in hit.highlights], ["missing", "narwhal"])
        self.assertLess(len(hit.snippet), 400)

    def test_the_hit_shows_the_message_where_the_words_are_there(self) -> None:
        file = self.file(self.alice)
        self.read(file)
        self.send(self.alice, "Who resigned, the treasurer?", file)
        [hit] = self.hits(self.alice, "treasurer resigned", mode=Mode.TEXT)
        self.assertEqual(hit.snippet, "Who resigned, the treasurer?")

    def test_a_hit_by_meaning_shows_the_nearest_part(self) -> None:
        file = self.file(self.alice)
        self.read(file, f"{'Other matters were discussed. ' * 300}{REPORT}")
        self.send(self.alice, "Look.", file)
        self.index()
        [hit] = self.hits(self.alice, "treasurer missing narwhal resigned objected", mode=Mode.SEMANTIC)
        self.assertIn("narwhal", hit.snippet)

    def test_its_name_finds_it(self) -> None:
        file = self.file(self.alice, "budget-2031.pdf")
        self.read(file)
        message = self.send(self.alice, "Look.", file)
        self.assertEqual(self.ids(self.alice, "budget", mode=Mode.TEXT), [message.pk])

    def test_phrases_and_exclusions(self) -> None:
        file = self.file(self.alice)
        self.read(file, f"{'Other matters. ' * 2_000}{REPORT}")
        message = self.send(self.alice, "Look.", file)
        self.assertEqual(self.ids(self.alice, '"the missing narwhal"'), [message.pk])
        self.assertEqual(self.ids(self.alice, '"narwhal the missing"'), [])
        self.assertEqual(self.ids(self.alice, "treasurer -narwhal"), [])

    def test_each_file_in_its_own_language(self) -> None:
        german, english = self.file(self.alice, "a.txt"), self.file(self.alice, "b.txt")
        self.read(
            german, "Die Häuser und die Gärten sind nicht mehr das, was sie in der Stadt waren, und das ist schade."
        )
        self.read(english, REPORT)
        message = self.send(self.alice, "Look at these.", german, english)
        for query in ("Haus", "Garten und Häusern", "meetings"):
            self.assertEqual(self.ids(self.alice, query, mode=Mode.TEXT), [message.pk], query)
        [hit] = self.hits(self.alice, "Häusern", mode=Mode.TEXT)
        self.assertTrue(hit.snippet.startswith("a.txt: "), hit.snippet)

    def test_a_long_file_is_found_by_all_of_its_words_and_by_the_meaning_of_its_beginning(self) -> None:
        file = self.file(self.alice)
        self.read(file, f"{'Other matters were discussed at length. ' * 12_000}{REPORT}")
        message = self.send(self.alice, "Look.", file)
        self.index()
        self.assertEqual(self.ids(self.alice, "narwhal", mode=Mode.TEXT), [message.pk])
        entry = Entry.objects.get(message_id=message.pk)
        self.assertEqual(Passage.objects.filter(entry_id=entry.pk).count(), MAX_FILE_WINDOWS + 1)

    @override_settings(FILE_TEXT_CHARS=50)
    def test_too_much_text_of_one_message_is_left_out(self) -> None:
        files = [self.file(self.alice, f"{word}.txt") for word in ("one", "two", "three")]
        for file, word in zip(files, ("whale", "seal", "narwhal"), strict=True):
            self.read(file, f"{word} " * 10 + "x" * 60)
        message = self.send(self.alice, "Look.", *files)
        self.assertEqual(self.ids(self.alice, "whale", mode=Mode.TEXT), [message.pk])
        self.assertEqual(self.ids(self.alice, "narwhal", mode=Mode.TEXT), [])

    def test_terms_that_another_version_made_are_made_anew(self) -> None:
        file = self.file(self.alice)
        self.read(file)
        message = self.send(self.alice, "Look.", file)
        self.index()
        IndexPartition.objects.update(analysis=1)
        Entry.objects.update(length=1)
        while remake_terms():
            pass
        self.index()
        self.assertGreater(Entry.objects.get(message_id=message.pk).length, 10)
        self.assertEqual(self.ids(self.alice, "narwhal", mode=Mode.TEXT), [message.pk])

    def test_a_batch_has_one_message_with_files(self) -> None:
        for number in range(3):
            file = self.file(self.alice, f"{number}.txt")
            self.read(file, f"narwhal {number}")
            self.send(self.alice, "Look.", file)
            self.say(self.alice, "a whale")
        counts = []
        while count := indexing.index_text():
            counts.append(count)
        self.assertEqual((sum(counts), len(counts)), (6, 4))
        while indexing.index_semantic(loading.current()):
            pass
        self.assertFalse(PendingMessage.objects.exists())
        self.assertEqual(len(self.ids(self.alice, "narwhal", mode=Mode.TEXT)), 3)

    def test_a_page_of_hits_takes_as_many_queries_as_one(self) -> None:
        def asked(count: int) -> int:
            with CaptureQueriesContext(connection) as queries:
                self.assertEqual(len(self.hits(self.alice, "narwhal", mode=Mode.TEXT)), count)
            return len(queries)

        numbers = []
        for count in (1, 8):
            while Message.objects.count() < count:
                file = self.file(self.alice, f"{Message.objects.count()}.txt")
                self.read(file, "narwhal")
                self.send(self.alice, "Look.", file)
            self.index()
            numbers.append(asked(count))
        self.assertEqual(numbers[0], numbers[1])


class GoneTest(FilesCase):
    def setUp(self) -> None:
        super().setUp()
        self.minutes = self.file(self.alice)
        self.read(self.minutes)
        self.message = self.send(self.alice, "Look.", self.minutes)
        self.index()

    def found_anywhere(self) -> list[Any]:
        return [each.message.pk for mode in Mode for each in search_everybody("missing narwhal", mode=mode).hits]

    def test_with_the_message(self) -> None:
        self.assertEqual(self.found_anywhere(), [self.message.pk] * 3)
        delete_message(message=self.message)
        self.assertEqual(self.found_anywhere(), [])
        self.assertFalse(Entry.objects.exists() or Passage.objects.exists() or PendingMessage.objects.exists())

    def test_with_the_file(self) -> None:
        self.minutes.delete()
        self.index()
        self.assertEqual(self.ids(self.alice, "narwhal", mode=Mode.TEXT), [])
        self.assertEqual(self.ids(self.alice, "look", mode=Mode.TEXT), [self.message.pk])
        self.assertEqual(Passage.objects.count(), 1)

    def test_with_one_of_two_files_of_the_same_content(self) -> None:
        other = self.file(self.alice, sha256=self.minutes.sha256)
        self.send(self.alice, "Again.", other)
        self.index()
        self.minutes.delete()
        self.index()
        self.assertEqual([hit.message.content for hit in self.hits(self.alice, "narwhal", mode=Mode.TEXT)], ["Again."])

    def test_an_expired_file_is_not_shown(self) -> None:
        File.objects.update(expires_at=timezone.now() - dt.timedelta(seconds=1))
        for hit in self.hits(self.alice, "narwhal"):
            self.assertNotIn("narwhal", hit.snippet)


class WhoseTest(FilesCase):
    def test_nobody_else_finds_it(self) -> None:
        file = self.file(self.alice)
        self.read(file)
        self.send(self.alice, "Look.", file)
        self.index()
        for who in (self.bob, self.guest):
            for mode in Mode:
                self.assertEqual(self.ids(who, "missing narwhal", mode=mode), [])

    def test_a_part_that_names_the_file_of_somebody_else_finds_nothing(self) -> None:
        file = self.file(self.alice)
        own = self.send(self.bob, "Look.", file)
        self.read(file)
        later = self.send(self.bob, "Look again.", file)
        self.assertFalse(PendingMessage.objects.filter(message_id=own.pk, version__gt=0).exists())
        self.index()
        for mode in Mode:
            for hit in self.hits(self.bob, "missing narwhal", mode=mode):
                self.assertNotIn("narwhal", hit.snippet)
                self.assertIsNone(hit.text_score)
        words = Entry.objects.filter(message_id__in=[own.pk, later.pk]).values_list("length", flat=True)
        self.assertLess(max(words), 10)

    def test_equal_content_of_two_owners(self) -> None:
        for who in (self.alice, self.bob):
            self.send(who, "Look.", self.file(who, sha256="f" * 64))
        self.index()
        self.read(File.objects.get(owner=self.bob.user_id))
        noted = PendingMessage.objects.values_list("owner_id", flat=True)
        self.assertEqual(list(noted), [self.bob.user_id])
        self.assertEqual(self.ids(self.alice, "narwhal", mode=Mode.TEXT), [])
        self.assertEqual(len(self.ids(self.bob, "narwhal", mode=Mode.TEXT)), 1)

    def test_a_conversation_that_gets_another_owner_leaves_the_file_behind(self) -> None:
        file = self.file(self.alice)
        self.read(file)
        message = self.send(self.alice, "", file)
        self.index()
        Conversation.objects.filter(pk=message.conversation_id).update(owner=self.bob.user_id)
        self.index()
        self.assertEqual([len(self.ids(who, "narwhal", mode=Mode.TEXT)) for who in (self.alice, self.bob)], [0, 0])


class RebuiltTest(FilesCase):
    def test_the_index_is_rebuilt_with_messages_that_only_carry_files(self) -> None:
        file = self.file(self.alice)
        self.read(file)
        message = self.send(self.alice, "", file)
        self.index()
        Entry.objects.all().delete()
        self.assertEqual(indexing.note_missing(), 1)
        self.index()
        self.assertEqual(self.ids(self.alice, "narwhal", mode=Mode.TEXT), [message.pk])
