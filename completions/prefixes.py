"""Where a call that resends its history is already stored: the longest prefix of its messages."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from completions.statements import read_key, table
from conversations import digests
from conversations.models import Conversation, Message

if TYPE_CHECKING:
    from completions.asks import Ask


@dataclass(frozen=True, slots=True)
class StoredPrefix:
    """The first `length` messages of a call are stored, and end in this message."""

    length: int
    digest: str
    message_id: uuid.UUID
    conversation_id: uuid.UUID


class Prefixes:
    """The stored prefixes of a batch of questions, looked up in one statement.

    System messages alone do not count: they are the same in conversations that have nothing to do
    with each other.
    """

    def __init__(self, cursor: Any, asks: Sequence[Ask]) -> None:
        self._chains: dict[int, list[tuple[int, str]]] = {}
        for ask in asks:
            if ask.threaded and ask.store and ask.conversation_id is None:
                self._chains[id(ask)] = _chain_from_first_question(ask)
        wanted = [digest for chain in self._chains.values() for _, digest in chain]
        self._stored = _look_up(cursor, wanted) if wanted else {}

    def longest(self, ask: Ask) -> StoredPrefix | None:
        """Return the longest prefix of `ask` that its principal has stored."""
        for length, digest in reversed(self._chains.get(id(ask), [])):
            found = self._stored.get((digest, ask.principal.user_id))
            if found is not None:
                return StoredPrefix(length, digest, *found)
        return None


def _chain_from_first_question(ask: Ask) -> list[tuple[int, str]]:
    """Return (number of messages, digest after them) from the first user message on."""
    chain = digests.chain(ask.principal.user_id, ask.messages)
    first = next((index for index, wire in enumerate(ask.messages) if wire.get("role") == "user"), len(chain))
    return [(index + 1, chain[index]) for index in range(first, len(chain))]


def _look_up(cursor: Any, wanted: Sequence[str]) -> dict[tuple[str, uuid.UUID], tuple[uuid.UUID, uuid.UUID]]:
    """Return (message, conversation) by digest and owner; of several the newest."""
    marks = ", ".join(["%s"] * len(wanted))
    cursor.execute(
        f"SELECT m.digest, c.owner_id, m.id, m.conversation_id FROM {table(Message)} m "  # noqa: S608
        f"JOIN {table(Conversation)} c ON c.id = m.conversation_id WHERE m.digest IN ({marks}) ORDER BY m.id",
        list(wanted),
    )
    return {
        (digest, read_key(owner)): (read_key(message), read_key(conversation))
        for digest, owner, message, conversation in cursor.fetchall()
    }
