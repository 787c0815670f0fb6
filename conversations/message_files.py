"""The files that messages carry, and what is known of their texts.

Only the files of whoever owns the conversation: a part may name an id that is somebody else's.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from conversations.models import Message, MessagePart
from files.models import File, FileText
from files.texts import UNSUPPORTED, explanation

# A message is searched by as much text of its files, in settings.FILE_TEXT_CHARS; a file that does not fit is left out.
TEXTS_OF_MESSAGE = 4
MESSAGES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class MessageFile:
    """A file that the part at `position` of a message refers to.

    `state` is one of `FileText.State`, or `unsupported` for a file that is not read, a picture for example.
    """

    position: int
    file: File
    state: str
    reason: str

    @property
    def explanation(self) -> str:
        """Return a sentence about why the text is missing or incomplete; '' if there is nothing to say."""
        return explanation(self.file.media_type, self.state, self.reason)


@dataclass(frozen=True, slots=True)
class FileSays:
    """The text of a file that a message carries."""

    name: str
    text: str


def files_of(messages: Iterable[Message]) -> dict[uuid.UUID, list[MessageFile]]:
    """Return the files of each message that carries any, in the order of its parts; by two queries."""
    parts = _parts([message.pk for message in messages if message.has_parts])
    known = _known(parts)
    found: dict[uuid.UUID, list[MessageFile]] = {}
    for message_id, position, file in parts:
        said = known.get((file.owner_id, file.sha256))
        state, reason = (said.state, said.reason) if said else (UNSUPPORTED, "")
        found.setdefault(message_id, []).append(MessageFile(position, file, state, reason))
    return found


def texts_of(ids: Sequence[uuid.UUID]) -> Iterator[tuple[uuid.UUID, list[FileSays]]]:
    """Yield each of these messages that carries files whose texts are there, with them; loads a few at a time."""
    for start in range(0, len(ids), MESSAGES_AT_ONCE):
        chosen = _chosen(_parts(ids[start : start + MESSAGES_AT_ONCE]))
        texts = FileText.objects.in_bulk([key for files in chosen.values() for _, key in files])
        for message_id, files in chosen.items():
            yield message_id, [FileSays(file.name, texts[key].text) for file, key in files if key in texts]


def carrying_texts(ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of these messages carry files whose texts are there."""
    return set(_chosen(_parts(ids)))


Part = tuple[uuid.UUID, int, File]


def _parts(ids: Collection[uuid.UUID]) -> list[Part]:
    """Return the message, the position and the file of each part that refers to one of its owner's."""
    if not ids:
        return []
    mine = MessagePart.objects.filter(message__in=ids, file__owner_id=F("message__conversation__owner_id"))
    parts = mine.exclude(file__expires_at__lte=timezone.now()).select_related("file").order_by("message_id", "position")
    return [(part.message_id, part.position, part.file) for part in parts if part.file is not None]


def _known(parts: Sequence[Part]) -> dict[tuple[uuid.UUID, str], FileText]:
    owners, digests = {file.owner_id for *_, file in parts}, {file.sha256 for *_, file in parts}
    found = FileText.objects.filter(owner__in=owners, sha256__in=digests).defer("text") if parts else ()
    return {(text.owner_id, text.sha256): text for text in found}


def _chosen(parts: Sequence[Part]) -> dict[uuid.UUID, list[tuple[File, uuid.UUID]]]:
    """Return the files of each message by whose texts it is searched, with the keys of the texts."""
    known = _known(parts)
    found: dict[uuid.UUID, list[tuple[File, uuid.UUID]]] = {}
    room: dict[uuid.UUID, int] = {}
    for message_id, _, file in parts:
        said = known.get((file.owner_id, file.sha256))
        left = room.get(message_id, TEXTS_OF_MESSAGE * settings.FILE_TEXT_CHARS)
        if said is not None and said.state == FileText.State.READ and said.chars <= left:
            room[message_id] = left - said.chars
            files = found.setdefault(message_id, [])
            if said.pk not in [key for _, key in files]:
                files.append((file, said.pk))
    return found
