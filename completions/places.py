"""Where a question goes: into its conversation, after a stored prefix of its messages, or into a new one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accounts.models import User, uuid7
from completions.asks import HEAD, Ask
from completions.exceptions import UnknownConversation
from completions.prefixes import Prefixes, StoredPrefix
from completions.recall import Recall, read_recall
from completions.statements import for_update, key, read_key, table
from completions.types import Wire
from conversations import digests
from conversations.models import Conversation, Message


@dataclass(slots=True)
class Place:
    """Where new messages go."""

    conversation_id: uuid.UUID
    parent_id: uuid.UUID | None
    digest: str
    next_position: int
    is_new: bool
    recall: Recall | None = None


def find_place(
    cursor: Any, ask: Ask, prefixes: Prefixes, opened: dict[uuid.UUID, Place]
) -> tuple[Place, Sequence[Wire]]:
    """Return where the new messages go, and which of the messages are new there."""
    if ask.conversation_id is not None:
        return _place_in(cursor, ask, ask.conversation_id, opened), ask.messages
    if ask.threaded:
        found = prefixes.longest(ask)
        place = _place_after(cursor, found, opened) if found is not None else None
        if found is not None and place is not None:
            return place, ask.messages[found.length :]
    start = digests.root(ask.owner_id or ask.principal.user_id)
    return Place(uuid7(), parent_id=None, digest=start, next_position=1, is_new=True), ask.messages


def _place_after(cursor: Any, found: StoredPrefix, opened: dict[uuid.UUID, Place]) -> Place | None:
    """Lock the conversation of a stored prefix; None when it was deleted meanwhile."""
    cursor.execute(
        f"SELECT next_position FROM {table(Conversation)} WHERE id = %s{for_update('NO KEY UPDATE')}",  # noqa: S608
        [key(found.conversation_id)],
    )
    row = cursor.fetchone()
    if row is None:
        return None
    known = opened.get(found.conversation_id)
    next_position = known.next_position if known else row[0]
    return Place(found.conversation_id, found.message_id, found.digest, next_position, is_new=False)


def _place_in(cursor: Any, ask: Ask, conversation_id: uuid.UUID, opened: dict[uuid.UUID, Place]) -> Place:
    """Lock the named conversation; raises UnknownConversation for a foreign one just as for none."""
    lock = for_update("NO KEY UPDATE OF c")
    cursor.execute(
        f"SELECT c.owner_id, u.guest_made, c.head_id, c.next_position, c.recall FROM {table(Conversation)} c "  # noqa: S608
        f"JOIN {table(User)} u ON u.id = c.owner_id WHERE c.id = %s{lock}",
        [key(conversation_id)],
    )
    row = cursor.fetchone()
    who = ask.principal
    if row is None or not (row[1] if who.is_guest else read_key(row[0]) == who.user_id):
        raise UnknownConversation
    owner_id, _, head_id, next_position, recall = row
    if conversation_id in opened:
        next_position = opened[conversation_id].next_position
    parent_id = ask.parent_id
    if parent_id == HEAD:
        parent_id = None if head_id is None else read_key(head_id)
    digest = digests.root(read_key(owner_id))
    if parent_id is not None:
        cursor.execute(
            f"SELECT digest FROM {table(Message)} WHERE id = %s AND conversation_id = %s",  # noqa: S608
            [key(parent_id), key(conversation_id)],
        )
        found = cursor.fetchone()
        if found is None:
            raise UnknownConversation("Message not found.")
        digest = found[0]
    return Place(conversation_id, parent_id, digest, next_position, is_new=False, recall=_recall(recall))


def _recall(stored: Any) -> Recall | None:
    """Return a conversation's setting; cursors give JSON as text."""
    return read_recall(json.loads(stored) if isinstance(stored, str) else stored)
