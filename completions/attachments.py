"""Puts the content of files into the messages that go to an upstream, in place of the references to them.

What is stored keeps the references, and what is in memory has marks, which `upstream_bodies` replaces while it sends. A
file that is not there any more, or for which there is no room, is named in a text instead: the question is asked all
the same.
"""

from __future__ import annotations

import secrets
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings

from accounts.callers import Principal
from completions.exceptions import StorageUnavailable
from completions.types import Wire
from conversations.file_parts import Reference, as_reference, embedded_in, reference_in, with_content, with_text
from files.embedded import CHUNK_BYTES, TAKEN_OUT, Arrived, EmbeddedContent
from files.exceptions import ContentMissing
from files.models import File
from files.public_ids import key_of
from files.services import open_file
from files.threads import in_file_thread

Files = Mapping[uuid.UUID, File]
GONE = "[file {} is not available]"
FROM_MODEL = "[file {}]"
NO_ROOM = "[file {} is left out: the files of this request are too large together]"
RETRY_AFTER = 5
_SECRET = secrets.token_hex(16)  # so that no client can write a mark


@dataclass(frozen=True, slots=True)
class StoredContent:
    """The content of a file."""

    file: File

    @property
    def size(self) -> int:
        return self.file.size

    def chunks(self) -> Iterator[bytes]:
        with open_file(file=self.file) as content:
            while chunk := content.read(CHUNK_BYTES):
                yield chunk


Contents = Mapping[str, StoredContent | EmbeddedContent]
"""By the mark that stands for it."""


class _Place(NamedTuple):
    """Where a reference is: the number of the message, and of the part in it."""

    message: int
    part: int
    reference: Reference


async def with_files(
    messages: Sequence[Wire], principal: Principal, embedded: Arrived
) -> tuple[tuple[Wire, ...], Contents]:
    """Return `messages` with marks for the files that they refer to and that `principal` may see, and the contents.

    The files of a request hold LIMIT_CONTENT_BODY_BYTES together; the newest messages come first. `embedded` is what
    was taken out of messages that are not stored.
    """
    contents: dict[str, StoredContent | EmbeddedContent] = {}
    sent = [_with_embedded(wire, embedded, contents) for wire in messages] if embedded else list(messages)
    places = [place for at, wire in enumerate(sent) for place in _places(at, wire)]
    if places:
        await in_file_thread(_put_marks, sent, places, principal, contents)
    return tuple(sent), contents


def _with_embedded(wire: Wire, embedded: Arrived, contents: dict[str, Any]) -> Wire:
    content = wire.get("content")
    if not isinstance(content, list):
        return wire
    return {**wire, "content": [_with_mark(part, embedded, contents) for part in content]}


def _with_mark(part: Any, embedded: Arrived, contents: dict[str, Any]) -> Any:
    found = embedded_in(part)
    placeholder = TAKEN_OUT.search(found.text) if found else None
    if found is None or placeholder is None or (content := embedded.get(placeholder[1])) is None:
        return part
    mark = _mark_of(content.sha256)
    contents[mark] = content
    reference = as_reference(part, file_id="", media_type=content.media_type)
    name = found.fields.get("filename")
    return with_content(reference, base64=mark, media_type=content.media_type, name=name or "file")


def _places(at: int, wire: Wire) -> list[_Place]:
    content = wire.get("content")
    parts = content if isinstance(content, list) else ()
    return [_Place(at, number, found) for number, part in enumerate(parts) if (found := reference_in(part))]


def _find(places: Sequence[_Place], principal: Principal) -> Files:
    keys = {key for place in places if (key := key_of(place.reference.file_id))}
    return {file.pk: file for file in File.objects.visible_to(principal).filter(pk__in=keys)}


def _put_marks(sent: list[Wire], places: Sequence[_Place], principal: Principal, contents: dict[str, Any]) -> None:
    files = _find(places, principal)
    left = settings.LIMIT_CONTENT_BODY_BYTES or sys.maxsize
    for message in {place.message for place in places}:
        sent[message] = {**sent[message], "content": list(sent[message]["content"])}
    for place in reversed(places):
        content = sent[place.message]["content"]
        part, named = content[place.part], place.reference.name or str(place.reference.file_id)[:100]
        key = key_of(place.reference.file_id)
        file = files.get(key) if key else None
        if sent[place.message].get("role") == "assistant":  # there, servers take nothing but text
            content[place.part] = with_text(part, FROM_MODEL.format(file.name if file else named))
        elif file is not None and file.size > left:
            content[place.part] = with_text(part, NO_ROOM.format(file.name or named))
        elif file is None or not _is_there(file):
            content[place.part] = with_text(part, GONE.format(named))
        else:
            left -= file.size
            mark = _mark_of(file.sha256)
            contents[mark] = StoredContent(file)
            content[place.part] = with_content(part, base64=mark, media_type=file.media_type, name=file.name)


def _mark_of(sha256: str) -> str:
    return f"{_SECRET}-{sha256}"


def _is_there(file: File) -> bool:
    """Tell whether the storage has the content; raises StorageUnavailable if the storage is away."""
    try:
        open_file(file=file).close()
    except ContentMissing:
        return False
    except Exception as error:  # storages raise errors of their own
        raise StorageUnavailable(retry_after=RETRY_AFTER) from error
    return True
