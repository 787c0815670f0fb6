"""The part of the contract about files: what the model's server gets of them, and which of them are refused."""

from __future__ import annotations

import base64

import httpx2
from django.conf import settings
from django.core.files.base import ContentFile

from chatservice.dialects.contract import Call, DialectAdapter
from chatservice.testing import ApiUser, without_request_id
from conversations.models import Message
from files.models import File
from files.public_ids import public_id
from files.services import store_file

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PICTURE = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
UNKNOWN = "file-00000000000070008000000000000000"
ASKED = "What is it?"


class FilesContract(DialectAdapter):
    def ask_about_file(self, api_user: ApiUser, file_id: str, text: str = ASKED) -> httpx2.Response:
        """Ask `text` about a file in a new conversation, with the model `fake/ok`, and wait for the answer."""
        return self.files_call(api_user, text, file_id).by(api_user.http)

    def files_call(self, api_user: ApiUser, text: str, file_id: str) -> Call:
        raise NotImplementedError

    def stored_picture(self, api_user: ApiUser) -> File:
        return store_file(owner_id=api_user.user.pk, content=ContentFile(PNG), name="whale.png", purpose="vision")

    def test_the_models_server_gets_the_picture_that_is_asked_about(self) -> None:
        file_id = public_id(self.stored_picture(self.alice).pk)
        response = self.ask_about_file(self.alice, file_id)
        self.assertIn(self.status_of(response), (200, 201), response.text)
        text, picture = self.upstream.posts[-1].body["messages"][-1]["content"]
        self.assertEqual((text["text"], picture["image_url"]["url"]), (ASKED, PICTURE))
        question = self.settled(self.alice).parent
        assert question is not None
        self.assertEqual((question.role, question.content), ("user", ASKED))
        self.assertNotIn("base64", str(question.as_wire()))
        self.assertIn(file_id, str(question.as_wire()))

    def test_somebody_elses_file_is_refused_like_one_that_is_none(self) -> None:
        hers = public_id(self.stored_picture(self.alice).pk)
        asked = len(self.upstream.posts)
        seen = {}
        for file_id in (hers, UNKNOWN, "file-abc", "../../etc/passwd", "x" * 200):
            response = self.ask_about_file(self.bob, file_id)
            self.assertEqual((self.status_of(response), self.error_code(response)), (400, "file_not_found"))
            self.assertRegex(response.text, r"file_?[iI]d", "the parameter is named")
            self.assertNotIn(file_id, response.text)
            seen[file_id] = without_request_id(response.text)
        self.assertEqual(len(set(seen.values())), 1, seen)
        self.assertFalse(Message.objects.filter(conversation__owner=self.bob.user).exists())
        self.assertEqual(len(self.upstream.posts), asked)

    def test_more_than_goes_to_a_model_at_once_is_refused(self) -> None:
        file = self.stored_picture(self.alice)
        File.objects.filter(pk=file.pk).update(size=settings.LIMIT_CONTENT_BODY_BYTES + 1)
        response = self.ask_about_file(self.alice, public_id(file.pk))
        self.assertEqual((self.status_of(response), self.error_code(response)), (413, "request_too_large"))
        self.assertIn("LIMIT_CONTENT_BODY_BYTES", response.text)
