"""OpenAI's Python library uploads, lists, reads and deletes files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import openai

from chatservice.testing import needs_dialect, tried_once
from tests.clients.openai_case import OpenAITestCase

needs_dialect("openai_v1")

WHALES = b"Whales sleep in the sea.\n"


@tried_once
class FilesTest(OpenAITestCase):
    def setUp(self) -> None:
        super().setUp()
        self.files: Any = self.openai.files

    def upload(self, name: str = "whales.txt", content: bytes = WHALES, **fields: Any) -> Any:
        return self.checked(self.files.create(file=(name, content), **{"purpose": "user_data", **fields}))

    def test_a_file_from_its_beginning_to_its_end(self):
        made = self.upload()
        self.assertEqual((made.object, made.bytes, made.filename), ("file", len(WHALES), "whales.txt"))
        self.assertEqual(self.checked(self.files.retrieve(made.id)).to_dict(), made.to_dict())
        self.assertEqual(self.files.content(made.id).read(), WHALES)
        self.assertEqual(self.files.wait_for_processing(made.id, poll_interval=0.1).status, "processed")
        gone = self.checked(self.files.delete(made.id))
        self.assertEqual((gone.id, gone.deleted), (made.id, True))
        for call in (self.files.retrieve, self.files.content, self.files.delete):
            with self.assertRaises(openai.NotFoundError):
                call(made.id)

    def test_a_large_one_goes_there_and_back_in_pieces(self):
        content = bytes(range(256)) * 20_000
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "numbers.bin"
            path.write_bytes(content)
            made = self.checked(self.files.create(file=path, purpose="user_data"))
            copy = Path(directory) / "copy.bin"
            with self.files.with_streaming_response.content(made.id) as response:
                response.stream_to_file(copy)
            self.assertEqual(copy.read_bytes(), content)

    def test_they_are_listed_in_pages(self):
        made = [self.upload(f"{n}.txt", purpose="assistants" if n % 2 else "user_data").id for n in range(5)]

        def found(**fields: Any) -> list[str]:
            return [self.checked(each).id for each in self.files.list(**fields)]

        self.assertEqual(found(), made[::-1])
        self.assertEqual(found(order="asc", limit=2), made)
        self.assertEqual(found(order="asc", purpose="assistants"), made[1::2])
        self.assertEqual(found(order="asc", after=made[1]), made[2:])

    def test_one_that_expires_says_when(self):
        made = self.upload(expires_after={"anchor": "created_at", "seconds": 3600})
        self.assertEqual(made.expires_at, made.created_at + 3600)

    def test_only_their_owner_has_them(self):
        made = self.upload()
        bob: Any = self.client_of(self.bob).files
        for call in (bob.retrieve, bob.content, bob.delete):
            with self.assertRaises(openai.NotFoundError):
                call(made.id)
        self.assertEqual(list(bob.list()), [])
        self.assertEqual(self.files.content(made.id).read(), WHALES)

    def test_what_cannot_be_a_file_is_refused(self):
        with self.assertRaises(openai.BadRequestError):
            self.upload(purpose="nothing-known")
        with self.assertRaises(openai.APIStatusError) as refused:
            self.openai.post("/files", body={"purpose": "user_data"}, cast_to=object)
        self.assertEqual(refused.exception.status_code, 415)
