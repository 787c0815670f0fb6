"""Puts the content of files into the messages that go to an upstream, in place of the references to them.

What is stored keeps the references. A file that is not there any more, or for which there is no room, is named in a
text instead: the question is asked all the same.
"""

from __future__ import annotations

import base64
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

from django.conf import settings

from accounts.callers import Principal
from completions.content_gate import content_gate
from completions.exceptions import StorageUnavailable
from completions.types import Wire
from conversations.file_parts import Reference, reference_in, with_content, with_text
from files.exceptions import ContentMissing
from files.models import File
from files.public_ids import key_of
from files.services import open_file
from files.threads import in_file_thread

Files = Mapping[uuid.UUID, File]
GONE = "[file {} is not available]"
NO_ROOM = "[file {} is left out: the files of this request are too large together]"
RETRY_AFTER = 5


class _Place(NamedTuple):
    """Where a reference is: the number of the message, and of the part in it."""

    message: int
    part: int
    reference: Reference


async def with_files(messages: Sequence[Wire], principal: Principal, held: AsyncExitStack) -> tuple[Wire, ...]:
    """Return `messages` with the content of the files that they refer to and that `principal` may see.

    The files of a request hold LIMIT_CONTENT_BODY_BYTES together; the newest messages come first. The content counts as
    on its way until `held` is closed.
    """
    places = [place for at, wire in enumerate(messages) for place in _places(at, wire)]
    if not places:
        return tuple(messages)
    files = await in_file_thread(_find, places, principal)
    size = sum(file.size for place in places if (file := _file_of(place, files)) is not None)
    await held.enter_async_context(content_gate().passing(min(size, settings.LIMIT_CONTENT_BODY_BYTES or size)))
    return await in_file_thread(_with_files, messages, places, files)


def _places(at: int, wire: Wire) -> list[_Place]:
    content = wire.get("content")
    parts = content if isinstance(content, list) else ()
    return [_Place(at, number, found) for number, part in enumerate(parts) if (found := reference_in(part))]


def _find(places: Sequence[_Place], principal: Principal) -> Files:
    keys = {key for place in places if (key := key_of(place.reference.file_id))}
    return {file.pk: file for file in File.objects.visible_to(principal).filter(pk__in=keys)}


def _file_of(place: _Place, files: Files) -> File | None:
    key = key_of(place.reference.file_id)
    return files.get(key) if key else None


def _with_files(messages: Sequence[Wire], places: Sequence[_Place], files: Files) -> tuple[Wire, ...]:
    contents: dict[uuid.UUID, str] = {}
    left = settings.LIMIT_CONTENT_BODY_BYTES or sys.maxsize
    sent = [dict(wire) for wire in messages]
    for message in {place.message for place in places}:
        sent[message]["content"] = list(messages[message]["content"])
    for place in reversed(places):
        content = sent[place.message]["content"]
        part, named = content[place.part], place.reference.name or str(place.reference.file_id)[:100]
        file = _file_of(place, files)
        if file is not None and file.size > left:
            content[place.part] = with_text(part, NO_ROOM.format(file.name or named))
            continue
        if file is not None and file.pk not in contents:
            try:
                contents[file.pk] = _read(file)
            except ContentMissing:
                file = None
        if file is None:
            content[place.part] = with_text(part, GONE.format(named))
            continue
        left -= file.size
        found = contents[file.pk]
        content[place.part] = with_content(part, base64=found, media_type=file.media_type, name=file.name)
    return tuple(sent)


def _read(file: File) -> str:
    """Return the content as base64; raises ContentMissing, and StorageUnavailable if the storage is away."""
    try:
        with open_file(file=file) as content:
            return base64.b64encode(content.read()).decode("ascii")
    except ContentMissing:
        raise
    except Exception as error:  # storages raise errors of their own
        raise StorageUnavailable(retry_after=RETRY_AFTER) from error
