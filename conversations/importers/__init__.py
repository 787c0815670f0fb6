"""Imports history from elsewhere: turns a file, zip or folder into frozen values, streaming. Uses no database.

The format is recognised by the content of each entry. An entry that cannot be read is reported, and reading continues
with the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import ijson

from conversations.importers import chatgpt, claude, openai_jsonl
from conversations.importers.json_stream import Hopeless, PassedOver, read_values
from conversations.importers.members import DAMAGE, NOTHING, Member, find_members
from conversations.importers.values import (
    Broken,
    ImportedConversation,
    Skipped,
    Unreadable,
    Unusable,
    identifier,
    text,
)

WRAPPERS = ("conversations", "items", "data", "chats")
"""What an object may call a list of conversations."""
LABEL_CHARS = 60


def size_of(path: Path) -> int:
    """Return how many bytes `read_history` will read; raises Unreadable."""
    return sum(member.size for member in find_members(path)[0])


def read_history(
    path: Path, *, largest: int, on_read: Callable[[int], object] = lambda count: None
) -> Iterator[ImportedConversation | Skipped | Broken]:
    """Yield the conversations of an export, and reports of what cannot be read; raises Unreadable if there are none.

    `largest` limits the size of a conversation, in bytes; `on_read` gets the number of bytes of each read.
    """
    members, broken = find_members(path)
    yield from broken
    others = 0
    for member in members:
        others += yield from _read(member, largest, on_read)
    if others == len(members):
        raise Unreadable(NOTHING)


def _read(
    member: Member, largest: int, on_read: Callable[[int], object]
) -> Generator[ImportedConversation | Skipped | Broken, None, bool]:
    """Yield what is in a file, and return whether it is something else than conversations."""
    number = 0
    try:
        with member.open() as file:
            values = read_values(file, largest=largest, on_read=on_read)
            for number, entry in enumerate(chain.from_iterable(map(_unwrapped, values)), 1):
                if number == 1 and member.may_be_other and not _has_messages(entry):
                    yield Skipped(member.name, "it holds no conversations")
                    return True
                yield _parse(entry, f"{member.name} no. {number}")
    except ijson.JSONError:
        yield Broken(member.name, f"it is cut off or not valid JSON; {number} entries before that were read")
    except Hopeless as error:
        yield Broken(member.name, f"{error}; {number} entries before that were read")
    except DAMAGE as error:
        yield Broken(member.name, f"it is damaged ({error}); {number} entries before that were read")
    except Unreadable as error:
        yield Broken(member.name, str(error))
    return member.may_be_other and not number


def _unwrapped(value: Any) -> list[Any]:
    """Return the conversations of an object that has a list of them, or else the value alone."""
    if isinstance(value, dict) and not _has_messages(value):
        for name in WRAPPERS:
            inner = value.get(name)
            if isinstance(inner, list) and any(map(_has_messages, inner)):
                return inner
    return [value]


def _has_messages(entry: Any) -> bool:
    if isinstance(entry, dict):
        return "mapping" in entry or "chat_messages" in entry or openai_jsonl.is_one(entry)
    return isinstance(entry, PassedOver)


def _parse(entry: Any, place: str) -> ImportedConversation | Skipped:
    if isinstance(entry, PassedOver):
        return Skipped(place, entry.reason)
    try:
        return parse(entry)
    except Unusable as error:
        return Skipped(_label(entry) or place, str(error))
    except Exception as error:  # whatever the error: the other entries must still be imported
        return Skipped(_label(entry) or place, f"it has an unexpected structure ({type(error).__name__})")


def parse(entry: Any) -> ImportedConversation:
    """Return one entry of an export, of any format, as a conversation; raises Unusable."""
    if not isinstance(entry, dict):
        raise Unusable("it is not a conversation")
    if "mapping" in entry:
        return chatgpt.parse(entry)
    if "chat_messages" in entry:
        return claude.parse(entry)
    if openai_jsonl.is_one(entry):
        return openai_jsonl.parse(entry)
    raise Unusable("it has no messages in it (neither mapping nor chat_messages nor messages)")


def _label(entry: Any) -> str:
    """Name an entry in a report, by its title and id."""
    if not isinstance(entry, dict):
        return ""
    title = " ".join((text(entry.get("title")) or text(entry.get("name"))).split())[:LABEL_CHARS]
    name = next(
        (found for key in ("conversation_id", "id", "uuid", "custom_id") if (found := identifier(entry.get(key)))), ""
    )
    quoted = f'"{title}"' if title else ""
    return " ".join(filter(None, [quoted, name and f"({name[:LABEL_CHARS]})"]))
