"""Documents in questions to a server that takes none: it gets what they say, or why there is nothing; and search."""

from __future__ import annotations

import json
from typing import Any

from chatservice.dialects.openai_v1.tests.test_file_references import FileReferencesCase, document, picture
from chatservice.testing import running_service, tried_once, wait_until
from completions.tests.upstream import FaultyUpstream
from conversations.message_files import files_of
from conversations.models import Message, MessagePart
from files.models import FileText
from files.tests import documents

PNG = b"\x89PNG\r\n\x1a\n" + bytes(256)


class DocumentsCase(FileReferencesCase):
    @classmethod
    def setUpClass(cls) -> None:
        super(FileReferencesCase, cls).setUpClass()
        cls.up = cls.enterClassContext(FaultyUpstream())
        one = {"base_url": cls.up.base_url, "strip_prefix": True, "documents": "text"}
        upstreams = {"native": {**one, "models": ["native/*"], "api": "responses"}, "chat": {**one, "models": ["ok"]}}
        limits = {"UPSTREAMS": json.dumps(upstreams), "CONTEXT_TOKENS": '{"*": 5000}'}
        cls.running = cls.enterClassContext(running_service(**limits))

    def text_instead_of(self, content: bytes, name: str) -> Any:
        return self.parts(document(self.upload(content, name)))[0]


@tried_once
class SaidTest(DocumentsCase):
    def test_each_kind_is_sent_as_text_right_after_its_upload(self) -> None:
        for content, name in (
            (documents.pdf("Whales sleep."), "a.pdf"),
            (documents.word("Whales sleep."), "a.docx"),
            (b"# Whales sleep.", "a.md"),
        ):
            got = self.text_instead_of(content, name)
            self.assertEqual(got["type"], "text")
            self.assertTrue(got["text"].startswith(f"[file {name}]\n"), got)
            self.assertIn("Whales sleep.", got["text"])

    def test_the_reference_is_stored(self) -> None:
        part = document(self.upload(documents.pdf("Whales sleep."), "a.pdf"))
        self.parts(part)
        message = Message.objects.get(conversation__owner=self.alice.user, role="user")
        self.assertEqual(message.as_wire()["content"][1:], [part])

    def test_what_cannot_be_read_is_said_and_the_question_asked(self) -> None:
        got = self.text_instead_of(documents.encrypted_pdf("secret", "pass"), "a.pdf")
        self.assertEqual(got["text"], "[file a.pdf]\n[The text of this file is protected by a password.]")
        got = self.text_instead_of(b"%PDF-1.7\n nothing", "b.pdf")
        self.assertEqual(got["text"], "[file b.pdf]\n[The text of this file cannot be read: the file is damaged.]")
        got = self.text_instead_of(b"\x1f\x8b\x08" + bytes(90), "c.gz")
        self.assertEqual(got["text"], "[file c.gz]\n[The text of this file is not read.]")
        message = Message.objects.filter(conversation__owner=self.alice.user, role="user").first()
        [[found]] = files_of(MessagePart.objects.filter(message=message, file__isnull=False)).values()
        self.assertEqual((found.state, found.reason), ("failed", "encrypted"))

    def test_pictures_and_files_of_others_are_as_ever(self) -> None:
        [seen] = self.parts(picture(self.upload(PNG, "a.png")))
        self.assertIn("base64,", seen["image_url"]["url"])
        [seen] = self.parts(document(self.upload(PNG + b"2", "b.png")))
        self.assertIn("base64,", seen["file"]["file_data"])

    def test_long_texts_are_cut_together_and_the_newest_comes_first(self) -> None:
        old, new = (self.upload(f"{word} ".encode() * 3_000, f"{word}.txt") for word in ("whale", "seal"))
        first, second = (part["text"] for part in self.parts(document(old), document(new)))
        self.assertEqual(second.count("seal"), 3_001)  # and in the name
        self.assertTrue(100 < first.count("whale ") < 1_000, first.count("whale "))
        self.assertTrue(first.endswith("\n[the rest of this file is left out]"))

    def test_the_responses_api_of_a_server(self) -> None:
        file_id = self.upload(documents.pdf("Whales sleep."), "a.pdf")
        part = {"type": "input_file", "file_id": file_id}
        self.openai.responses.create(model="native/ok", input=[{"role": "user", "content": [part]}])
        [got] = self.up.posts[-1].body["input"][-1]["content"]
        self.assertEqual(got["type"], "input_text")
        self.assertIn("Whales sleep.", got["text"])


class SearchTest(DocumentsCase):
    def hits(self, user: Any, query: str) -> list[Any]:
        response = user.http.get(f"{self.running.url}/v1/chat/search", params={"q": query})
        return list(response.json()["data"])

    def test_a_pdf_is_found_by_its_owner_until_it_is_deleted(self) -> None:
        file_id = self.upload(documents.pdf("The treasurer lost a narwhal."), "minutes.pdf")
        self.parts(document(file_id), text="What happened?")
        wait_until(lambda: self.hits(self.alice, "narwhals"), what="a hit")
        hit = self.hits(self.alice, "narwhals")[0]
        self.assertTrue(hit["snippet"].startswith("minutes.pdf: The treasurer lost a narwhal."), hit)
        found = self.alice.http.get(f"{self.running.url}/v1/conversations", params={"query": "narwhal"}).json()
        self.assertIn(file_id, json.dumps(found))
        self.assertEqual(self.hits(self.bob, "narwhals"), [])
        self.openai.files.delete(file_id)
        self.assertFalse(FileText.objects.filter(owner=self.alice.user).exists())
        self.assertNotIn("narwhal", json.dumps(self.hits(self.alice, "narwhals")))
