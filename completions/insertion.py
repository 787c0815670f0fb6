"""Finds where a question is inserted: in its conversation, after a stored prefix of its messages, or in a new one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accounts.access import may_see
from accounts.models import User
from completions.bulk_sql import table
from completions.conversation_generation import ConversationGeneration, conversation_generation
from completions.exceptions import HistoryChanged, UnknownConversation
from completions.prefixes import MAX_SHORT, Prefixes, StoredPrefix, is_full
from completions.recall import Recall, read_recall
from completions.run_requests import HEAD, RunRequest
from completions.types import Wire
from conversations import digests
from conversations.models import Conversation, Message
from foundation.ids import uuid7
from foundation.row_sql import for_update, key, read_key

MAX_BRANCHES = 64


@dataclass(slots=True)
class InsertionPoint:
    """Where new messages go, and whose they are. `replaces_full`: it is new since another conversation is full."""

    owner_id: uuid.UUID
    conversation_id: uuid.UUID
    parent_id: uuid.UUID | None
    digest: str
    next_position: int
    is_new: bool
    recall: Recall | None = None
    generation: ConversationGeneration | None = None
    replaces_full: bool = False


def find_insertion_point(
    cursor: Any, request: RunRequest, prefixes: Prefixes, points: dict[uuid.UUID, InsertionPoint]
) -> tuple[InsertionPoint, Sequence[Wire]]:
    """Return the insertion point, and those of the messages that are new there; raises Refused."""
    if request.conversation_id is not None:
        return _point_in(cursor, request, request.conversation_id, points), request.messages
    replaces_full = request.history is not None and request.history.is_full
    if request.threaded and (found := prefixes.longest(request)):
        if point := _point_after(cursor, request, found, points):
            return point
        if request.history is not None:
            raise HistoryChanged  # all of it is to be stored, which is prepared outside of the transaction
        replaces_full = True
    owner_id = request.owner_id or request.principal.user_id
    root = digests.root(owner_id)
    return InsertionPoint(
        owner_id, uuid7(), None, root, next_position=1, is_new=True, replaces_full=replaces_full
    ), request.messages


def _point_after(
    cursor: Any, request: RunRequest, found: StoredPrefix, points: dict[uuid.UUID, InsertionPoint]
) -> tuple[InsertionPoint, Sequence[Wire]] | None:
    """Lock the conversation of a stored prefix; None if it was deleted meanwhile, or is full."""
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
    parent_id, digest, messages = found.message_id, found.digest, request.messages[found.length :]
    # Asked once more for another answer: that belongs beside the first, after the same question.
    for message in messages[:MAX_SHORT]:
        following = digests.follow(digest, message)
        if (resent := _branch(cursor, parent_id, following)) is None:
            break
        parent_id, digest, messages = resent, following, messages[1:]
    if is_full(next_position, new=len(messages), sent=len(request.messages)):
        return None
    return InsertionPoint(owner_id, found.conversation_id, parent_id, digest, next_position, is_new=False), messages


def _branch(cursor: Any, parent_id: uuid.UUID, digest: str) -> uuid.UUID | None:
    """Return the message with this digest after `parent_id`, if it is among so many: there may be thousands."""
    cursor.execute(
        f"SELECT id FROM (SELECT id, digest FROM {table(Message)} WHERE parent_id = %s LIMIT {MAX_BRANCHES}) branches "  # noqa: S608
        "WHERE digest = %s",
        [key(parent_id), digest],
    )
    row = cursor.fetchone()
    return None if row is None else read_key(row[0])


def _point_in(
    cursor: Any, request: RunRequest, conversation_id: uuid.UUID, points: dict[uuid.UUID, InsertionPoint]
) -> InsertionPoint:
    """Lock the named conversation; raises UnknownConversation for an unknown one and for somebody else's."""
    lock = for_update("NO KEY UPDATE OF c")
    cursor.execute(
        f"SELECT c.owner_id, u.guest_made, c.head_id, c.next_position, c.recall, c.generation "  # noqa: S608
        f"FROM {table(Conversation)} c JOIN {table(User)} u ON u.id = c.owner_id WHERE c.id = %s{lock}",
        [key(conversation_id)],
    )
    row = cursor.fetchone()
    if row is None or not may_see(request.principal, owner_id=read_key(row[0]), guest_made=row[1]):
        raise UnknownConversation
    owner_id, (head_id, next_position, recall, generation) = read_key(row[0]), row[2:]
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
        owner_id,
        conversation_id,
        parent_id,
        digest,
        next_position,
        is_new=False,
        recall=read_recall(_read_json(recall)),
        generation=conversation_generation(_read_json(generation)),
    )


def _read_json(stored: Any) -> Any:
    """Return a value that a raw cursor may have returned as text."""
    return json.loads(stored) if isinstance(stored, str) else stored
