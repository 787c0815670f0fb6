"""Puts what documents say into the messages that go to an upstream which does not read documents itself.

What is stored keeps the references. A document that says nothing, or cannot be read, is named in a text in brackets.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from accounts.callers import Principal
from completions.types import Wire
from conversations.file_parts import reference_in, with_text
from files.models import File, FileText
from files.public_ids import key_of
from files.texts import SPEECHLESS, UNSUPPORTED, explanation
from files.threads import in_file_thread

DOCUMENTS = frozenset({"file", "input_file"})
WAIT_SECONDS, PAUSE_SECONDS = 30.0, 0.2
CUT = "[the rest of this file is left out]"


class Document(NamedTuple):
    """A file, and what is known of its text."""

    file: File
    said: FileText | None


async def with_texts(messages: Sequence[Wire], principal: Principal, *, chars: int) -> tuple[Wire, ...]:
    """Return `messages` with texts in place of the documents that they refer to and that `principal` may see.

    Together the texts have `chars` characters at most; the newest messages come first. Waits for texts that are being
    read at the moment.
    """
    keys = {key for wire in messages for part in _parts(wire) if (key := _key(part))}
    if not keys:
        return tuple(messages)
    until = time.monotonic() + WAIT_SECONDS
    while await in_file_thread(_are_being_read, keys, principal) and time.monotonic() < until:
        await asyncio.sleep(PAUSE_SECONDS)
    documents = await in_file_thread(_find, keys, principal)
    sent: list[Wire] = []
    for wire in reversed(messages):
        parts = _parts(wire)
        for at in reversed(range(len(parts))):
            document = documents.get(_key(parts[at]))
            if document is not None:
                text = _text_of(document, chars)
                chars -= len(text)
                parts[at] = with_text(parts[at], text)
        sent.append({**wire, "content": parts} if parts else wire)
    return tuple(reversed(sent))


def _parts(wire: Wire) -> list[Wire]:
    content = wire.get("content")
    return list(content) if isinstance(content, list) else []


def _key(part: Wire) -> uuid.UUID | None:
    """Return the key of the file that a part refers to as a document."""
    reference = reference_in(part)
    return key_of(reference.file_id) if reference is not None and part["type"] in DOCUMENTS else None


def _are_being_read(keys: set[uuid.UUID], principal: Principal) -> bool:
    return FileText.objects.of_files(File.objects.visible_to(principal).filter(pk__in=keys)).waiting().exists()


def _find(keys: set[uuid.UUID], principal: Principal) -> Mapping[uuid.UUID | None, Document]:
    files = [file for file in File.objects.visible_to(principal).filter(pk__in=keys) if _is_document(file)]
    said = {(text.owner_id, text.sha256): text for text in FileText.objects.of_files(files)}
    return {file.pk: Document(file, said.get((file.owner_id, file.sha256))) for file in files}


def _is_document(file: File) -> bool:
    return not file.media_type.startswith(SPEECHLESS)


def _text_of(document: Document, chars: int) -> str:
    """Return what stands for a document, with at most about `chars` characters of it."""
    file, said = document
    state, reason, text = (said.state, said.reason, said.text) if said else (UNSUPPORTED, "", "")
    notes = [CUT] if len(text) > max(chars, 0) else []
    if why := explanation(file.media_type, state, reason):
        notes.append(f"[{why}]")
    return "\n".join([f"[file {file.name}]", *([text[: max(chars, 0)]] if text else []), *notes])
