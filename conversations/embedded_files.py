"""Takes the content out of messages that have pictures, recordings or documents in themselves: it becomes files.

What is stored refers to the files, by OpenAI's `file_id`. They are deleted with the last message that refers to them.
"""

from __future__ import annotations

import base64
import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.db.models import QuerySet

from conversations.file_parts import Embedded, as_reference, embedded_in, reference_in, with_content
from conversations.models import Message, MessagePart
from files.embedded import Arrived, EmbeddedContent, read_embedded
from files.exceptions import ContentMissing
from files.models import ContentChange, File
from files.public_ids import key_of, public_id
from files.services import finish_change, keep_content, note_unneeded, open_file

Wire = Mapping[str, Any]


class TakenOut(NamedTuple):
    """Messages with references, and what keeps their files until they are stored: call `finish` then."""

    messages: list[dict[str, Any]]
    changes: list[ContentChange]

    def finish(self) -> None:
        for change in self.changes:
            finish_change(change)


def embedded_parts(messages: Sequence[Wire]) -> Iterator[Embedded]:
    """Yield where these messages have content in themselves."""
    for wire in messages:
        for part in _parts(wire):
            if (embedded := embedded_in(part)) is not None:
                yield embedded


def take_out(messages: Sequence[Wire], *, owner_id: uuid.UUID, among: Arrived) -> TakenOut:
    """Store the content that messages have in themselves. What is no base64 stays where it is.

    Raises what `keep_content` raises. Call it outside of a transaction, in a thread.
    """
    files: dict[str, File] = {}
    taken = TakenOut([], [])
    try:
        for wire in messages:
            parts = [_without_content(part, owner_id, among, files, taken.changes) for part in _parts(wire)]
            taken.messages.append({**wire, "content": parts} if parts else dict(wire))
    except BaseException:
        taken.finish()
        raise
    return taken


@contextlib.contextmanager
def as_files(messages: Sequence[Wire], *, owner_id: uuid.UUID, among: Arrived) -> Iterator[Sequence[Wire]]:
    """Yield the messages with references, to be stored in the block; see `take_out`."""
    taken = take_out(messages, owner_id=owner_id, among=among)
    try:
        yield taken.messages
    finally:
        taken.finish()


def with_contents(wire: Wire, *, owner_id: uuid.UUID) -> Wire:
    """Return a message in which the owner's files are content again; what is gone stays a reference."""
    references = {number: found for number, part in enumerate(_parts(wire)) if (found := reference_in(part))}
    if not references:
        return wire
    keys = [key for found in references.values() if (key := key_of(found.file_id))]
    files = {public_id(file.pk): file for file in File.objects.filter(owner_id=owner_id, pk__in=keys)}
    parts = list(_parts(wire))
    for number, found in references.items():
        file = files.get(found.file_id)
        if file is not None and (encoded := _read(file)) is not None:
            parts[number] = with_content(parts[number], base64=encoded, media_type=file.media_type, name=file.name)
    return {**wire, "content": parts}


def _read(file: File) -> str | None:
    try:
        with open_file(file=file) as content:
            return base64.b64encode(content.read()).decode("ascii")
    except ContentMissing:
        return None


def note_files_of(messages: QuerySet[Message]) -> None:
    """Delete the files that nobody needs after this transaction, which deletes these messages."""
    carried = MessagePart.objects.filter(message__in=messages, file__from_message=True)
    for owner_id, sha256 in set(carried.values_list("file__owner_id", "file__sha256")):
        note_unneeded(owner_id, sha256)


def _parts(wire: Wire) -> list[Any]:
    content = wire.get("content")
    return content if isinstance(content, list) else []


def _without_content(
    part: Any, owner_id: uuid.UUID, among: Arrived, files: dict[str, File], changes: list[ContentChange]
) -> Any:
    embedded = embedded_in(part)
    content = read_embedded(embedded.text, among) if embedded else None
    if embedded is None or content is None:
        return part
    if (file := files.get(content.sha256)) is None:
        file = files[content.sha256] = _keep(content, embedded, owner_id, changes)
    return as_reference(part, file_id=public_id(file.pk), media_type=file.media_type)


def _keep(content: EmbeddedContent, embedded: Embedded, owner_id: uuid.UUID, changes: list[ContentChange]) -> File:
    name = embedded.fields.get("filename")
    file, change = keep_content(
        owner_id=owner_id, content=content.as_file(), name=name if isinstance(name, str) else ""
    )
    changes.append(change)
    return file
