"""Exports with pictures and files in them, and what became of those after an import."""

from __future__ import annotations

import io
import uuid
import wave
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.core.management import call_command
from PIL import Image

from chatservice.testing import ServiceTestCase
from conversations import digests
from conversations.branches import branch
from conversations.models import Conversation, Message, MessagePart
from conversations.tests.exports import chat, node, write_zip
from files.models import File
from files.public_ids import public_id
from files.services import open_file

PDF = b"%PDF-1.4\n% whales\n%%EOF\n"


def picture(colour: str = "red", format: str = "PNG", size: int = 8) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(out, format)
    return out.getvalue()


def recording() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\1" * 80)
    return out.getvalue()


def points_to(pointer: str, kind: str = "image_asset_pointer") -> dict[str, Any]:
    return {"content_type": kind, "asset_pointer": pointer}


def multimodal(*parts: Any) -> dict[str, Any]:
    return {"content_type": "multimodal_text", "parts": list(parts)}


def asks(name: str, *parts: Any, **more: Any) -> dict[str, Any]:
    """Return a ChatGPT conversation of one question with these parts."""
    return chat(name, node(f"{name}-q", None, content=multimodal(*parts), **more))


class AttachmentsCase(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.folder = Path(directory.name)

    def zip(self, entries: Any, files: Mapping[str, Any]) -> Path:
        return write_zip(self.folder / f"{uuid.uuid4().hex}.zip", {"conversations.json": entries, **files})

    def bring_in(self, path: Path) -> str:
        out = io.StringIO()
        call_command("import_history", path, "--user", self.alice.user.username, "--no-progress", stdout=out)
        return out.getvalue()

    def files(self) -> list[File]:
        return list(File.objects.filter(owner=self.alice.user).order_by("created_at", "pk"))

    def contents(self) -> list[bytes]:
        found = []
        for file in self.files():
            with open_file(file=file) as content:
                found.append(content.read())
        return sorted(found)

    def wires(self, name: str) -> list[dict[str, Any]]:
        talk = Conversation.objects.get(owner=self.alice.user, source_id=name)
        return [message.as_wire() for message in branch(talk.pk, talk.head_id)]

    def parts(self, name: str) -> Any:
        """Return the content of the only message, each reference as the content that it refers to."""
        [wire] = self.wires(name)
        if isinstance(wire["content"], str):
            return wire["content"]
        ids = {public_id(file.pk): file for file in self.files()}
        found = []
        for part in wire["content"]:
            if part["type"] == "text":
                found.append(part["text"])
            else:
                with open_file(file=ids[part[part["type"]]["file_id"]]) as content:
                    found.append((part["type"], content.read()))
        return found

    def rows(self) -> list[Any]:
        mine = Message.objects.filter(conversation__owner=self.alice.user).order_by("id")
        parts = MessagePart.objects.filter(message__in=mine).order_by("id")
        return [
            *mine.values_list("id", "parent_id", "content", "digest", "position", "has_parts"),
            *parts.values_list("id", "message_id", "kind", "text", "data", "file_id"),
            *File.objects.filter(owner=self.alice.user).order_by("id").values_list("id", "name", "created_at"),
        ]

    def check_digests(self, name: str) -> None:
        talk = Conversation.objects.get(owner=self.alice.user, source_id=name)
        path = branch(talk.pk, talk.head_id)
        chain = digests.chain(digests.root(self.alice.user.pk), [message.as_wire() for message in path])
        self.assertEqual([message.digest for message in path], chain)
