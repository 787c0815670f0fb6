"""Takes the pictures and files of an export along, for the messages that refer to them.

Their content is stored before the messages are, outside of the transaction, and deleted again if the messages are not.
What is not in the export, or cannot be stored, stays named in the text.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.conf import settings

from accounts.models import User
from conversations.embedded_files import take_out
from conversations.file_parts import part_of
from conversations.importers.attached import AttachedFile
from conversations.importers.members import DAMAGE, Member
from conversations.importers.values import ImportedConversation, ImportedMessage, NamedFile, Unreadable
from conversations.imports import NAME_CHARS, ROWS
from conversations.models import Message
from conversations.storable import storable_name, storable_text
from files.exceptions import EmptyFile, FileRefused, FilesFull, FileTooLarge
from files.models import ContentChange, File
from files.public_ids import public_id
from files.services import CHUNK_BYTES, finish_changes, keep_contents
from files.storage import Draft

MISSING = "file that is not in the export"
DAMAGED = "damaged or empty file"
TOO_LARGE = "file over LIMIT_FILE_BYTES"
NO_ROOM = "file beyond LIMIT_FILES_PER_USER or LIMIT_FILES_PER_USER_BYTES"


class _Stored(NamedTuple):
    """What an earlier import stored of a message."""

    text: str
    has_parts: bool


class _Damaged(Exception):
    """The file cannot be read to its end."""


class TakenFiles:
    """The files of one export that are stored for `owner`; each is read once for a batch, not for each message.

    `ids` are those of the stored files.
    """

    def __init__(self, *, owner: User, attached: Mapping[str, AttachedFile]) -> None:
        self._owner = owner
        self._attached = attached
        self._known: dict[str, File | str] = {}
        self._changes: list[ContentChange] = []
        self._is_full = False
        self.ids: set[uuid.UUID] = set()

    @contextlib.contextmanager
    def put_into(self, conversations: Sequence[ImportedConversation]) -> Iterator[list[ImportedConversation]]:
        """Yield `conversations`, to be stored in the block, with references in place of the files' names.

        What is left out is counted. Messages that are stored with their files already stay as they are.
        """
        stored = self._stored(conversations)
        try:
            yield [self._in_conversation(each, stored) for each in conversations]
        finally:
            for start in range(0, len(self._changes), ROWS):
                finish_changes(self._changes[start : start + ROWS])
            self._changes.clear()
            self._known.clear()

    def _stored(self, conversations: Sequence[ImportedConversation]) -> dict[tuple[str, str], _Stored]:
        """Return what is stored of the messages with files, by the source ids of conversation and message."""
        wanted = {_place(each, message) for each in conversations for message in each.messages if message.files}
        if not wanted:
            return {}
        rows = Message.objects.filter(
            conversation__owner=self._owner,
            conversation__source_id__in={conversation for conversation, _ in wanted},
            source_id__isnull=False,
        )
        found = rows.values_list("conversation__source_id", "source_id", "content", "has_parts").iterator()
        return {
            (talk, name): _Stored(text, has_parts)
            for talk, name, text, has_parts in found
            if talk and name and (talk, name) in wanted
        }

    def _in_conversation(
        self, conversation: ImportedConversation, stored: Mapping[tuple[str, str], _Stored]
    ) -> ImportedConversation:
        left_out = Counter(conversation.left_out)
        messages = tuple(
            self._in_message(each, stored.get(_place(conversation, each)), left_out)
            if each.files
            else self._without_content(each)
            for each in conversation.messages
        )
        return dataclasses.replace(conversation, messages=messages, left_out=left_out)

    def _in_message(self, message: ImportedMessage, before: _Stored | None, left_out: Counter[str]) -> ImportedMessage:
        """Return the message with its files; `before` is None for a new one."""
        is_named = before is not None and any(storable_text(file.mark) in before.text for file in message.files)
        if before is not None and not is_named:
            if before.has_parts:  # it has its files: the text beside them may be the former one
                return dataclasses.replace(message, formerly="")
            if before.text != storable_text(message.formerly):
                return message
        found = [(file, self._taken(file)) for file in message.files]
        left_out.update(each for _, each in found if isinstance(each, str))
        files = [(file, each) for file, each in found if isinstance(each, File)]
        if not files:
            return message
        placed = _with_references(message, files)
        if before is None or not is_named:
            return placed
        is_new = storable_text(placed.content) != before.text
        return dataclasses.replace(placed, formerly=before.text) if is_new else message

    def _without_content(self, message: ImportedMessage) -> ImportedMessage:
        """Return the message with references in place of the content that it has in itself, as our exports have it."""
        try:
            taken = take_out([message.extras or {}], owner_id=self._owner.pk, among={})
        except FileRefused:
            return message
        self._changes += taken.changes
        return dataclasses.replace(message, extras=taken.messages[0]) if taken.changes else message

    def _taken(self, named: NamedFile) -> File | str:
        """Return the stored file, or else why it is left out."""
        if named.key not in self._known:
            self._known[named.key] = self._take(named)
        return self._known[named.key]

    def _take(self, named: NamedFile) -> File | str:
        attached = self._attached.get(named.key)
        if attached is None:
            return MISSING
        if self._is_full:
            return NO_ROOM
        name = storable_text(named.name or attached.name) or named.key
        try:
            with Draft(named.key) as draft:
                for chunk in _chunks(attached.member):
                    draft.write(chunk)
                draft.flush()
                [file], changes = keep_contents(owner_id=self._owner.pk, contents=[(name, draft)])
        except FileTooLarge:
            return TOO_LARGE
        except FilesFull:
            self._is_full = True
            return NO_ROOM
        except (_Damaged, EmptyFile):
            return DAMAGED
        self._changes += changes
        self.ids.add(file.pk)
        return file


def _place(conversation: ImportedConversation, message: ImportedMessage) -> tuple[str, str]:
    return storable_name(conversation.source_id, NAME_CHARS), storable_name(message.source_id, NAME_CHARS)


def _chunks(member: Member) -> Iterator[bytes]:
    """Yield the content, whatever size the zip gives; raises FileTooLarge and _Damaged."""
    limit = settings.LIMIT_FILE_BYTES
    if limit and member.size > limit:
        raise FileTooLarge(limit)
    size = 0
    try:
        with member.open() as content:
            while chunk := content.read(CHUNK_BYTES):
                size += len(chunk)
                if limit and size > limit:
                    raise FileTooLarge(limit)
                yield chunk
    except (Unreadable, *DAMAGE) as error:
        raise _Damaged from error


def _with_references(message: ImportedMessage, files: Sequence[tuple[NamedFile, File]]) -> ImportedMessage:
    """Return the message with parts that refer to `files` where their marks are, or else at its end."""
    text = message.content
    parts: list[dict[str, Any]] = []
    texts: list[str] = []
    moved: list[tuple[int, int]] = []  # where each piece of text begins, before and now

    def add_text(start: int, end: int | None) -> None:
        piece = text[start:end].strip("\n")
        if piece.strip():
            start = text.index(piece, start)
            moved.append((start, len("\n".join([*texts, ""]))))
            texts.append(piece)
            parts.append({"type": "text", "text": piece})

    at = 0
    last: list[dict[str, Any]] = []
    for named, file in files:
        start = text.find(named.mark, at)
        if start < 0:
            last.append(_reference(named, file))
            continue
        add_text(at, start)
        parts.append(_reference(named, file))
        at = start + len(named.mark)
    add_text(at, None)
    extras = dict(message.extras or {})
    if "annotations" in extras:
        extras["annotations"] = [_annotation(each, moved) for each in extras["annotations"]]
    return dataclasses.replace(message, content="\n".join(texts), extras={**extras, "content": [*parts, *last]})


def _reference(named: NamedFile, file: File) -> dict[str, Any]:
    part = part_of(public_id(file.pk), file.media_type)
    if part["type"] == "file":
        part["file"]["filename"] = named.name or file.name
    return part


def _annotation(annotation: Any, moved: Sequence[tuple[int, int]]) -> Any:
    """Return a citation with its place in the text that the pieces are now."""
    cited = annotation["url_citation"]
    by = next((now - before for before, now in reversed(moved) if before <= cited["start_index"]), 0)
    places = {name: cited[name] + by for name in ("start_index", "end_index")}
    return {**annotation, "url_citation": {**cited, **places}}
