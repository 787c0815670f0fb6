"""Takes the content out of messages that have pictures, recordings or documents in themselves: it becomes files.

What is stored refers to the files, by OpenAI's `file_id`. They are deleted with the last message that refers to them.
"""

from __future__ import annotations

import base64
import contextlib
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.db.models import QuerySet

from conversations.file_parts import Embedded, as_reference, embedded_in, reference_in, with_content
from conversations.models import Message, MessagePart
from files.embedded import Arrived, EmbeddedContent, read_embedded
from files.exceptions import ContentMissing, FileRefused
from files.models import ContentChange, File
from files.public_ids import key_of, public_id
from files.services import finish_changes, keep_contents, note_unneeded, open_file

Wire = Mapping[str, Any]
MAX_CONTENTS = 500
"""As many different ones may be in a request, as at OpenAI."""


class TakenOut(NamedTuple):
    """Messages with references, and what keeps their files until they are stored: call `finish` then."""

    messages: Sequence[Wire]
    changes: Sequence[ContentChange]

    def finish(self) -> None:
        finish_changes(self.changes)


def embedded_parts(messages: Sequence[Wire]) -> Iterator[Embedded]:
    """Yield where these messages have content in themselves."""
    for wire in messages:
        for part in _parts(wire):
            if (embedded := embedded_in(part)) is not None:
                yield embedded


def take_out(messages: Sequence[Wire], *, owner_id: uuid.UUID, among: Arrived) -> TakenOut:
    """Store the content that messages have in themselves. What is no base64 stays where it is.

    Raises FileRefused, User.DoesNotExist and StorageLost. Call it outside of a transaction, in a thread.
    """
    found: dict[str, EmbeddedContent] = {}
    digests: dict[str, str] = {}
    names: dict[str, str] = {}
    for embedded in embedded_parts(messages):
        content = None if embedded.text in digests else read_embedded(embedded.text, among)
        if content is not None:
            digests[embedded.text] = content.sha256
            found.setdefault(content.sha256, content)
            names.setdefault(content.sha256, _name_of(embedded))
    if len(found) > MAX_CONTENTS:
        raise FileRefused(f"A request holds at most {MAX_CONTENTS} pictures and files.")
    if not found:
        return TakenOut(messages, ())
    given = [(names[sha256], content.as_file()) for sha256, content in found.items()]
    files, changes = keep_contents(owner_id=owner_id, contents=given)
    kept = dict(zip(found, files, strict=True))
    return TakenOut([_with_references(wire, digests, kept) for wire in messages], changes)


def _name_of(embedded: Embedded) -> str:
    name = embedded.fields.get("filename")
    return name if isinstance(name, str) else ""


def _with_references(wire: Wire, digests: Mapping[str, str], kept: Mapping[str, File]) -> Wire:
    parts = [_with_reference(part, digests, kept) for part in _parts(wire)]
    return {**wire, "content": parts} if parts else wire


def _with_reference(part: Any, digests: Mapping[str, str], kept: Mapping[str, File]) -> Any:
    embedded = embedded_in(part)
    file = kept.get(digests.get(embedded.text, "")) if embedded else None
    return as_reference(part, file_id=public_id(file.pk), media_type=file.media_type) if file else part


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
    of_owners = defaultdict(set)
    for owner_id, sha256 in carried.values_list("file__owner_id", "file__sha256"):
        of_owners[owner_id].add(sha256)
    for owner_id, digests in of_owners.items():
        note_unneeded(owner_id, *digests)


def _parts(wire: Wire) -> list[Any]:
    content = wire.get("content")
    return content if isinstance(content, list) else []
