"""What a message is indexed by: its text, the turns before it, and the texts of the files that it carries."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conversations.message_files import FileSays, texts_of
from conversations.models import Message
from search.analysis import indexed
from search.languages import language_of
from search.passages import MAX_FILE_WINDOWS, MessageText, indexed_text, passages
from search.passages import Passage as PassageText

FIELDS = (
    *("id", "content", "author", "role", "created_at", "parent_id"),
    *("conversation__title", "conversation__owner_id", "conversation__owner__guest_made"),
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A stored message with the ids of up to two turns before it, nearest first, and the texts of its files."""

    row: dict[str, Any]
    previous: tuple[uuid.UUID, ...]
    files: Sequence[FileSays]

    @property
    def id(self) -> uuid.UUID:
        pk: uuid.UUID = self.row["id"]
        return pk

    @property
    def says_anything(self) -> bool:
        return bool(self.row["content"] or self.files)


@dataclass(frozen=True, slots=True)
class Analysed:
    """What a message is indexed by: the different stems of its texts, how many words they have, their languages."""

    stems: frozenset[str]
    length: int
    languages: frozenset[str]


def turns_of(ids: Sequence[uuid.UUID], carrying: Collection[uuid.UUID] = ()) -> list[Turn]:
    """Return these messages; those that are `carrying` files with the texts of them."""
    texts = dict(texts_of(list(carrying)))
    rows = list(Message.objects.filter(pk__in=ids).order_by("id").values(*FIELDS))
    parents = dict(
        Message.objects.filter(pk__in={row["parent_id"] for row in rows} - {None}).values_list("id", "parent_id")
    )
    turns = []
    for row in rows:
        parent = row["parent_id"]
        grandparent = parents.get(parent)
        previous = tuple(pk for pk in (parent, grandparent) if pk is not None)
        turns.append(Turn(row, previous, texts.get(row["id"], ())))
    return turns


def _message_text(row: Mapping[str, Any]) -> MessageText:
    return MessageText(row["author"] or row["role"], row["content"])


def with_context(turns: Sequence[Turn]) -> list[tuple[Turn, tuple[MessageText, ...]]]:
    """Return these turns, each with the texts of those before it, nearest first."""
    wanted = {pk for turn in turns for pk in turn.previous}
    rows = Message.objects.filter(pk__in=wanted).exclude(content="").values("id", "content", "author", "role")
    texts = {row["id"]: _message_text(row) for row in rows}
    return [(turn, tuple(texts[pk] for pk in turn.previous if pk in texts)) for turn in turns]


def passages_of(turn: Turn, context: tuple[MessageText, ...], tokens: int) -> list[PassageText]:
    """Return the passages of a message and, counted on from its end, of the files that it carries."""
    row = turn.row
    own, at = _message_text(row), row["created_at"]
    found = passages(own, at, context, row["conversation__title"], tokens=tokens) if own.content else []
    end, room = len(own.content), MAX_FILE_WINDOWS
    for file in turn.files:
        parts = passages(MessageText(file.name, file.text), at, (), "", tokens=tokens, windows_at_most=room)
        found += [PassageText(part.text, end + part.start, end + part.end) for part in parts]
        end, room = end + len(file.text), room - len(parts)
    return found


def analyse(turn: Turn) -> Analysed:
    """Return what a message and the files that it carries are indexed by."""
    row = turn.row
    # If fewer than two turns come before it, the title is indexed too: only the number of turns matters here.
    own = _message_text(row)
    text = indexed_text(own, row["created_at"], (own,) * len(turn.previous), row["conversation__title"])
    language = language_of(own.content)
    stems, length = indexed(text, language)
    languages = {language}
    for file in turn.files:
        language = language_of(file.text)
        more, words = indexed(f"{file.name}\n{file.text}", language)
        stems, length = stems | more, length + words
        languages.add(language)
    return Analysed(stems, length, frozenset(languages))
