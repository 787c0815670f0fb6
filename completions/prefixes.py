"""Where a call that resends its history goes on: after the last of its answers that is stored as one.

An answer is an assistant message that one of our runs wrote, or an import brought. The examples that a prompt makes up
are stored with the call that sent them, and are no answers: nothing goes on from them. Of several equal answers of one
owner the newest counts.

Short calls are looked up in the accept transaction. Long ones are looked up before it, from their end, a few hundred
messages at a time, because inside the transaction they would hold up everybody's commit. The transaction then only
checks whether the result still holds.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection

from completions.bulk_sql import table
from completions.exceptions import HistoryChanged
from completions.models import Run
from conversations import digests
from conversations.models import Conversation, Message
from foundation.database import in_database_thread
from foundation.row_sql import read_key

if TYPE_CHECKING:
    from completions.run_requests import RunRequest
    from completions.types import Wire

MAX_SHORT = 32
"""Up to this many messages are looked up and stored in the group commit, together with everybody else's."""
FIRST_WINDOW, MAX_WINDOW = 64, 512
SLICE = 128


# The first half is that of the index `message_answer`, in its words: otherwise it would not be used. The second half
# leaves out what somebody stored by hand and gave the name of a model. (Early versions did not store the upstream.)
IS_ANSWER = (
    "answer.role = 'assistant' AND (NOT (answer.model = '') OR answer.source_id IS NOT NULL) "  # noqa: S608
    "AND (answer.upstream <> '' OR answer.source_id IS NOT NULL "
    f"OR EXISTS (SELECT 1 FROM {Run._meta.db_table} run WHERE run.message_id = answer.id))"
)


@dataclass(frozen=True, slots=True)
class StoredPrefix:
    """The first `length` messages of a call are stored, and end in this answer."""

    length: int
    digest: str
    message_id: uuid.UUID
    conversation_id: uuid.UUID
    next_position: int


@dataclass(frozen=True, slots=True)
class History:
    """The digests of a long call, one after each message, and how many messages were stored when they were computed.

    `staged_ids` are those of the other messages, once they are in the staging table of the connection that accepts
    the call (`staging.py`). `is_full`: some were stored, but their conversation has no room, so all are new.
    """

    digests: tuple[str, ...]
    stored: int
    staged_ids: tuple[uuid.UUID, ...] = ()
    is_full: bool = False


class Prefixes:
    """The stored prefixes of a batch of questions, looked up in one statement."""

    def __init__(self, cursor: Any, run_requests: Sequence[RunRequest]) -> None:
        self._candidates: dict[int, list[tuple[int, str]]] = {}
        for request in run_requests:
            if is_threaded(request):
                self._candidates[id(request)] = _candidates(request)
        self._stored = _look_up(cursor, [digest for each in self._candidates.values() for _, digest in each])

    def longest(self, request: RunRequest) -> StoredPrefix | None:
        """Return the longest prefix of `request` that its principal has stored; raises HistoryChanged."""
        found = _first(self._stored, request, self._candidates[id(request)])
        if found is None and request.history is not None and request.history.stored:
            raise HistoryChanged
        return found


def is_threaded(request: RunRequest) -> bool:
    """Tell whether the insertion point of the question is decided by the longest stored prefix of its messages."""
    return request.threaded and request.store and request.conversation_id is None


def is_full(next_position: int, *, new: int, sent: int) -> bool:
    """Tell whether a conversation has no room for `new` of the `sent` messages of a call, and an answer.

    One that holds more than the limit began with a call as long as that. It has room for as much again: otherwise
    each further call of that history would be stored as a whole.
    """
    limit = settings.LIMIT_MESSAGES_PER_CONVERSATION
    if limit and next_position - 1 > limit:
        limit = 2 * sent
    return bool(limit) and next_position + new > limit


async def prepare(request: RunRequest) -> RunRequest:
    """Return a long call with its history looked up, any other call unchanged. Does not block the event loop."""
    if not is_threaded(request) or len(request.messages) <= MAX_SHORT:
        return request
    sent = len(request.messages)
    await asyncio.sleep(0)
    ways = _ways(request)
    chain = await _chain(*ways[0])
    lengths = _lengths(request)
    if limit := settings.LIMIT_NEW_MESSAGES_PER_REQUEST:  # of one with more no more is looked up: it is refused
        lengths = [length for length in lengths if length >= sent - limit]
    found, stored_chain = None, chain
    for number, way in enumerate(ways if lengths else ()):
        stored_chain = await _chain(*way) if number else chain
        if found := await in_database_thread(_last_answer, request, stored_chain, lengths):
            break
    if found is None:
        return replace(request, history=History(tuple(chain), 0))
    if is_full(found.next_position, new=sent - found.length, sent=sent):
        return replace(request, history=History(tuple(chain), 0, is_full=True))
    return replace(request, history=History(tuple(stored_chain), found.length))


def _ways(request: RunRequest) -> list[tuple[str, Sequence[Wire]]]:
    """Return the roots and spellings of the chains that may be stored of a call, the usual one first."""
    owner_id = request.principal.user_id
    spellings = digests.spellings(request.messages)
    return [*((digests.root(owner_id), each) for each in spellings), (digests.untagged(owner_id), request.messages)]


async def _chain(start: str, messages: Sequence[Wire]) -> list[str]:
    """Return the same as `digests.chain`, computed in slices, with the event loop running in between."""
    chain: list[str] = []
    for at in range(0, len(messages), SLICE):
        chain += digests.chain(chain[-1] if chain else start, messages[at : at + SLICE])
        await asyncio.sleep(0)
    return chain


def _last_answer(request: RunRequest, chain: Sequence[str], lengths: Sequence[int]) -> StoredPrefix | None:
    """Look up the prefixes of these lengths: usually one of the longest is stored, so the search starts at the end."""
    end, size = len(lengths), FIRST_WINDOW
    while end:
        start = max(0, end - size)
        candidates = [(length, chain[length - 1]) for length in reversed(lengths[start:end])]
        with connection.cursor() as cursor:
            stored = _look_up(cursor, [digest for _, digest in candidates])
        if found := _first(stored, request, candidates):
            return found
        end, size = start, min(size * 2, MAX_WINDOW)
    return None


def _lengths(request: RunRequest) -> list[int]:
    """Return the lengths of the prefixes that end in an assistant message, which may be an answer of ours."""
    return [length for length, wire in enumerate(request.messages, 1) if wire.get("role") == Message.Role.ASSISTANT]


def _candidates(request: RunRequest) -> list[tuple[int, str]]:
    """Return length and digest of each prefix to look up in the accept transaction, the best one first."""
    if request.history is not None:
        stored = request.history.stored
        return [(stored, request.history.digests[stored - 1])] if stored else []
    lengths = _lengths(request)
    if not lengths:
        return []
    chains = [digests.chain(*way) for way in _ways(request)]
    return [(length, chain[length - 1]) for length in reversed(lengths) for chain in chains]


Stored = dict[tuple[str, uuid.UUID], tuple[uuid.UUID, uuid.UUID, int]]


def _first(stored: Stored, request: RunRequest, candidates: Sequence[tuple[int, str]]) -> StoredPrefix | None:
    for length, digest in candidates:
        if found := stored.get((digest, request.principal.user_id)):
            return StoredPrefix(length, digest, *found)
    return None


def _look_up(cursor: Any, wanted: Sequence[str]) -> Stored:
    """Return message, conversation and its next position by digest and owner: of each digest the newest answer.

    One step in the index for each digest, however many answers share it: a health check has thousands of equal ones.
    """
    if not wanted:
        return {}
    marks = ", ".join(["(%s)"] * len(wanted))
    cursor.execute(
        f"WITH wanted (digest) AS (VALUES {marks}) "  # noqa: S608
        "SELECT wanted.digest, talk.owner_id, found.id, found.conversation_id, talk.next_position FROM wanted "
        f"JOIN {table(Message)} found ON found.id = (SELECT answer.id FROM {table(Message)} answer "
        f"WHERE answer.digest = wanted.digest AND {IS_ANSWER} ORDER BY answer.id DESC LIMIT 1) "
        f"JOIN {table(Conversation)} talk ON talk.id = found.conversation_id",
        list(wanted),
    )
    return {
        (digest, read_key(owner)): (read_key(message), read_key(conversation), next_position)
        for digest, owner, message, conversation, next_position in cursor.fetchall()
    }
