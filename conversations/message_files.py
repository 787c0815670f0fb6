"""The files that messages carry, and what is known of their texts.

Only the files of whoever owns the conversation (guests share theirs): a part may name an id that is somebody else's.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from conversations.models import MessagePart
from files.models import File, FileText
from files.texts import UNSUPPORTED, explanation

# A message is searched by as much text of its files, in settings.FILE_TEXT_CHARS; a file that does not fit is left out.
TEXTS_OF_MESSAGE = 4
MESSAGES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class MessageFile:
    """The file of a part of a message: None if it is gone, somebody else's, or at another site.

    `state` is one of `FileText.State`, or `unsupported` for a file that is not read, a picture for example.
    """

    part: MessagePart
    file: File | None
    state: str = UNSUPPORTED
    reason: str = ""

    @property
    def explanation(self) -> str:
        """Return a sentence about why the text is missing or incomplete; '' if there is nothing to say."""
        return explanation(self.file.media_type, self.state, self.reason) if self.file else ""


@dataclass(frozen=True, slots=True)
class FileSays:
    """The text of a file that a message carries."""

    name: str
    text: str


def files_of(parts: QuerySet[MessagePart]) -> dict[uuid.UUID, list[MessageFile]]:
    """Return the files of these parts by their message's id, in the order of its parts; by two queries."""
    located = _located(parts)
    known = _known(file for _, file in located if file is not None)
    found: dict[uuid.UUID, list[MessageFile]] = {}
    for part, file in located:
        said = known.get((file.owner_id, file.sha256)) if file is not None else None
        text = (said.state, said.reason) if said is not None else ()
        found.setdefault(part.message_id, []).append(MessageFile(part, file, *text))
    return found


def texts_of(ids: Sequence[uuid.UUID]) -> Iterator[tuple[uuid.UUID, list[FileSays]]]:
    """Yield each of these messages that carries files whose texts are there, with them; loads a few at a time."""
    for start in range(0, len(ids), MESSAGES_AT_ONCE):
        chosen = _chosen(_carried(ids[start : start + MESSAGES_AT_ONCE]))
        texts = FileText.objects.in_bulk([key for files in chosen.values() for _, key in files])
        for message_id, files in chosen.items():
            yield message_id, [FileSays(file.name, texts[key].text) for file, key in files if key in texts]


def carrying_texts(ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of these messages carry files whose texts are there."""
    return set(_chosen(_carried(ids)))


def _located(parts: QuerySet[MessagePart]) -> list[tuple[MessagePart, File | None]]:
    """Return these parts with the files that whoever sees their message may see."""
    owner = "message__conversation__owner"
    of_owner = Q(file__owner=F(owner)) | Q(file__owner__guest_made=True, **{f"{owner}__guest_made": True})
    kept = Q(file__expires_at=None) | Q(file__expires_at__gt=timezone.now())
    rows = parts.select_related("file").annotate(may_show=of_owner & kept).order_by("message_id", "position")
    return [(part, part.file if part.may_show else None) for part in rows]


def _carried(ids: Collection[uuid.UUID]) -> list[tuple[uuid.UUID, File]]:
    """Return the messages and files by whose texts they are searched: those that the index's triggers note."""
    if not ids:
        return []
    parts = MessagePart.objects.filter(message__in=ids, file__owner=F("message__conversation__owner"))
    return [(part.message_id, file) for part, file in _located(parts) if file is not None]


def _known(files: Iterable[File]) -> dict[tuple[uuid.UUID, str], FileText]:
    return {(text.owner_id, text.sha256): text for text in FileText.objects.of_files(files).defer("text")}


def _chosen(carried: Sequence[tuple[uuid.UUID, File]]) -> dict[uuid.UUID, list[tuple[File, uuid.UUID]]]:
    """Return the files of each message by whose texts it is searched, with the keys of the texts."""
    known = _known(file for _, file in carried) if carried else {}
    found: dict[uuid.UUID, list[tuple[File, uuid.UUID]]] = {}
    room: dict[uuid.UUID, int] = {}
    for message_id, file in carried:
        said = known.get((file.owner_id, file.sha256))
        left = room.get(message_id, TEXTS_OF_MESSAGE * settings.FILE_TEXT_CHARS)
        if said is not None and said.state == FileText.State.READ and said.chars <= left:
            room[message_id] = left - said.chars
            files = found.setdefault(message_id, [])
            if said.pk not in [key for _, key in files]:
                files.append((file, said.pk))
    return found
