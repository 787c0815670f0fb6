"""A client that sends a picture with its question, and what is stored of it."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Collection
from typing import Any

from conversations.models import MessagePart
from files.models import ContentChange, File
from files.services import open_file
from tests.chaos.readers import HTTP_READERS, OpenAIReader, Reader

SIZE = 100_000


class PictureReader(OpenAIReader):
    name = "openai_v1, with a picture"

    @property
    def picture(self) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + hashlib.shake_256(self.prompt.encode()).digest(SIZE)

    @property
    def content(self) -> Any:
        url = f"data:image/png;base64,{base64.b64encode(self.picture).decode()}"
        return [{"type": "text", "text": self.prompt}, {"type": "image_url", "image_url": {"url": url}}]


PICTURE_READERS: tuple[type[Reader], ...] = (PictureReader,) if OpenAIReader in HTTP_READERS else ()


def stored_pictures(user_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, bytes]:
    """Return the content of the file of each message that refers to one."""
    parts = MessagePart.objects.filter(message__conversation__owner__in=user_ids, file__isnull=False)
    found: dict[uuid.UUID, bytes] = {}
    for part in parts.select_related("file"):
        if part.file is not None:
            with open_file(file=part.file) as content:
                found[part.message_id] = content.read()
    return found


def left_over(user_ids: Collection[uuid.UUID]) -> int:
    """Return how many files neither a message nor the sweep knows."""
    known = ContentChange.objects.filter(owner_id__in=user_ids).values_list("sha256", flat=True)
    return File.objects.filter(owner__in=user_ids).unused().exclude(sha256__in=list(known)).count()
