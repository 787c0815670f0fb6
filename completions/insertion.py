"""Finds where a question is inserted: in its conversation, after a stored prefix of its messages, or in a new one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accounts.access import may_see
from accounts.models import User
from completions.bulk_sql import for_update, key, read_key, table
from completions.exceptions import HistoryChanged, UnknownConversation
from completions.prefixes import Prefixes, StoredPrefix
from completions.recall import Recall, read_recall
from completions.run_requests import HEAD, RunRequest
from completions.types import Wire
from conversations import digests
from conversations.models import Conversation, Message
from foundation.ids import uuid7


@dataclass(slots=True)
class InsertionPoint:
    """Where new messages go, and whose they are."""

    owner_id: uuid.UUID
    conversation_id: uuid.UUID
    parent_id: uuid.UUID | None
    digest: str
    next_position: int
    is_new: bool
    recall: Recall | None = None


def find_insertion_point(
    cursor: Any, request: RunRequest, prefixes: Prefixes, points: dict[uuid.UUID, InsertionPoint]
) -> tuple[InsertionPoint, Sequence[Wire]]:
    """Return the insertion point, and those of the messages that are new there; raises Refused."""
    if request.conversation_id is not None:
        return _point_in(cursor, request, request.conversation_id, points), request.messages
    if request.threaded:
        found = prefixes.longest(request)
        point = _point_after(cursor, request, found, points) if found is not None else None
        if found is not None and point is not None:
            return point, request.messages[found.length :]
        if request.history is not None and request.history.stored:
            raise HistoryChanged
    owner_id = request.owner_id or request.principal.user_id
    return InsertionPoint(
        owner_id, uuid7(), None, digests.root(owner_id), next_position=1, is_new=True
    ), request.messages


def _point_after(
    cursor: Any, request: RunRequest, found: StoredPrefix, points: dict[uuid.UUID, InsertionPoint]
) -> InsertionPoint | None:
    """Lock the conversation of a stored prefix; returns None if it was deleted meanwhile."""
    cursor.execute(
        f"SELECT next_position FROM {table(Conversation)} WHERE id = %s{for_update('NO KEY UPDATE')}",  # noqa: S608
        [key(found.conversation_id)],
    )
    row = cursor.fetchone()
    if row is None:
        return None
    known = points.get(found.conversation_id)
    next_position = known.next_position if known else row[0]
    owner_id = request.principal.user_id
    return InsertionPoint(owner_id, found.conversation_id, found.message_id, found.digest, next_position, is_new=False)


def _point_in(
    cursor: Any, request: RunRequest, conversation_id: uuid.UUID, points: dict[uuid.UUID, InsertionPoint]
) -> InsertionPoint:
    """Lock the named conversation; raises UnknownConversation for an unknown one and for somebody else's."""
    lock = for_update("NO KEY UPDATE OF c")
    cursor.execute(
        f"SELECT c.owner_id, u.guest_made, c.head_id, c.next_position, c.recall FROM {table(Conversation)} c "  # noqa: S608
        f"JOIN {table(User)} u ON u.id = c.owner_id WHERE c.id = %s{lock}",
        [key(conversation_id)],
    )
    row = cursor.fetchone()
    if row is None or not may_see(request.principal, owner_id=read_key(row[0]), guest_made=row[1]):
        raise UnknownConversation
    owner_id, (head_id, next_position, recall) = read_key(row[0]), row[2:]
    if conversation_id in points:
        next_position = points[conversation_id].next_position
    parent_id = request.parent_id
    if parent_id == HEAD:
        parent_id = None if head_id is None else read_key(head_id)
    digest = digests.root(owner_id)
    if parent_id is not None:
        cursor.execute(
            f"SELECT digest FROM {table(Message)} WHERE id = %s AND conversation_id = %s",  # noqa: S608
            [key(parent_id), key(conversation_id)],
        )
        found = cursor.fetchone()
        if found is None:
            raise UnknownConversation("Message not found.")
        digest = found[0]
    return InsertionPoint(
        owner_id, conversation_id, parent_id, digest, next_position, is_new=False, recall=_recall(recall)
    )


def _recall(stored: Any) -> Recall | None:
    """Return a conversation's recall setting; a raw cursor returns JSON as text."""
    return read_recall(json.loads(stored) if isinstance(stored, str) else stored)
