"""Files that come inside of messages: stored once, kept while they are needed, and gone with the last message."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import os
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from conversations.chat_wire import text_and_extras
from conversations.embedded_files import as_files, take_out
from conversations.exporters import export_conversation
from conversations.models import Conversation, Message, MessagePart
from conversations.services import append_message, delete_conversation, delete_message, start_conversation
from files.exceptions import FileRefused
from files.models import ContentChange, File
from files.services import finish_abandoned
from files.tests.test_services import FilesCase

NOBODY_FINISHES = dt.timedelta(hours=2)
TIMES = 12


def asks(content: bytes) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}]
    return {"role": "user", "content": parts}


class EmbeddedFilesTest(FilesCase):
    def setUp(self) -> None:
        super().setUp()
        self.png = b"\x89PNG\r\n\x1a\n" + os.urandom(500)

    def store(self, content: bytes) -> Message:
        """Store a message with this picture in a new conversation of Alice's."""
        with as_files([asks(content)], owner_id=self.alice.pk, among={}) as [wire]:
            text, extras = text_and_extras(wire)
            conversation = start_conversation(owner_id=self.alice.pk)
            return append_message(conversation=conversation, role="user", content=text, extras=extras)

    def files(self) -> list[File]:
        return list(File.objects.filter(owner=self.alice))

    def test_a_file_stays_as_long_as_a_message_refers_to_it(self) -> None:
        first, second = self.store(self.png), self.store(self.png)
        [file] = self.files()
        carriers = set(MessagePart.objects.filter(file=file).values_list("message", flat=True))
        self.assertEqual(carriers, {first.pk, second.pk})
        delete_message(message=first)
        self.assertEqual(self.text_of(file), self.png)
        delete_conversation(conversation=second.conversation)
        self.assertEqual((self.files(), self.contents(self.alice)), ([], []))
        self.assertFalse(ContentChange.objects.filter(owner_id=self.alice.pk).exists())

    def test_what_is_on_its_way_into_a_message_is_not_deleted_with_another(self) -> None:
        first = self.store(self.png)
        taken = take_out([asks(self.png)], owner_id=self.alice.pk, among={})
        delete_conversation(conversation=first.conversation)
        [file] = self.files()
        self.assertEqual(self.text_of(file), self.png)
        taken.finish()  # the question was refused
        self.assertEqual((self.files(), self.contents(self.alice)), ([], []))

    def test_storing_and_deleting_at_the_same_time_never_loses_what_is_needed(self) -> None:
        def store_and_delete() -> None:
            delete_conversation(conversation=self.store(self.png).conversation)

        for _ in range(3):
            results = self.at_once(*[lambda: self.store(self.png)] * 3, *[store_and_delete] * 3)
            self.assertEqual([each for each in results if isinstance(each, Exception)], [])
            [file] = self.files()
            self.assertEqual(self.text_of(file), self.png)
        for conversation in Conversation.objects.filter(owner=self.alice):
            delete_conversation(conversation=conversation)
        self.assertEqual((self.files(), self.contents(self.alice)), ([], []))

    def test_after_a_kill_it_is_deleted_unless_a_message_has_it(self) -> None:
        take_out([asks(self.png)], owner_id=self.alice.pk, among={})
        kept = self.store(self.png + b"!")
        with_change = take_out([asks(self.png + b"!")], owner_id=self.alice.pk, among={})
        self.assertEqual((len(self.files()), len(with_change.changes)), (2, 1))
        finish_abandoned()
        self.assertEqual(len(self.files()), 2, "they may still be on their way")
        ContentChange.objects.filter(owner_id=self.alice.pk).update(created_at=timezone.now() - NOBODY_FINISHES)
        finish_abandoned()
        [file] = self.files()
        self.assertEqual(file.pk, MessagePart.objects.exclude(file=None).get(message=kept).file_id)
        self.assertEqual(self.text_of(file), self.png + b"!")

    def test_a_long_conversation_is_deleted_with_its_pictures(self) -> None:
        conversation = start_conversation(owner_id=self.alice.pk)
        for number in range(TIMES):
            with as_files([asks(self.png + bytes([number]))], owner_id=self.alice.pk, among={}) as [wire]:
                text, extras = text_and_extras(wire)
                append_message(conversation=conversation, role="user", content=text, extras=extras)
            conversation.refresh_from_db()
        self.assertEqual(len(self.contents(self.alice)), TIMES)
        delete_conversation(conversation=conversation)
        self.assertEqual((self.files(), self.contents(self.alice)), ([], []))

    def test_an_export_has_the_content_again(self) -> None:
        conversation = self.store(self.png).conversation
        [line] = [json.loads("".join(export_conversation(conversation, "jsonl")))]
        self.assertEqual(line["messages"], [asks(self.png)])
        tree = json.loads("".join(export_conversation(conversation, "chatgpt")))
        [node] = [node for node in tree["mapping"].values() if node["message"]]
        self.assertEqual(node["message"]["metadata"]["chat_service"]["parts"], {"content": asks(self.png)["content"]})
        markdown = "".join(export_conversation(conversation, "markdown"))
        self.assertIn("file-", markdown)
        self.assertNotIn("base64", markdown)
        File.objects.filter(owner=self.alice).delete()
        [line] = [json.loads("".join(export_conversation(conversation, "jsonl")))]
        self.assertIn("file_id", line["messages"][0]["content"][0]["image_url"])

    def test_many_are_stored_together_and_too_many_refused(self) -> None:
        many = [asks(self.png + bytes([number, 0])) for number in range(100)]
        first = take_out(many, owner_id=self.alice.pk, among={})
        with CaptureQueriesContext(connection) as queries:  # a history with them is resent
            take_out(many, owner_id=self.alice.pk, among={}).finish()
        self.assertLess(len(queries), 30)
        self.assertEqual(len(self.files()), 100)
        first.finish()
        with self.assertRaisesMessage(FileRefused, "at most 500"):
            take_out([asks(b"%d" % number) for number in range(501)], owner_id=self.alice.pk, among={})
        self.assertEqual((self.files(), self.contents(self.alice)), ([], []))

    def test_somebody_elses_file_is_not_exported(self) -> None:
        file_id = self.store(self.png).as_wire()["content"][0]["image_url"]["file_id"]
        reference = [{"type": "image_url", "image_url": {"file_id": file_id}}]
        theirs = start_conversation(owner_id=self.bob.pk)
        append_message(conversation=theirs, role="user", content="", extras={"content": reference})
        theirs.refresh_from_db()
        exported = io.StringIO()
        exported.writelines(export_conversation(theirs, "jsonl"))
        self.assertEqual(json.loads(exported.getvalue())["messages"][0]["content"], reference)
