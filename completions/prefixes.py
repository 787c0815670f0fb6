"""Finds what is already stored of a call that resends its history: the longest prefix of its messages.

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

from completions.bulk_sql import read_key, table
from completions.exceptions import HistoryChanged
from conversations import digests
from conversations.models import Conversation, Message
from foundation.database import in_database_thread

if TYPE_CHECKING:
    from completions.run_requests import RunRequest
    from completions.types import Wire

MAX_SHORT = 32
"""Up to this many messages are looked up and stored in the group commit, together with everybody else's."""
FIRST_WINDOW, MAX_WINDOW = 64, 512
SLICE = 128


@dataclass(frozen=True, slots=True)
class StoredPrefix:
    """The first `length` messages of a call are stored; this message is the last of them."""

    length: int
    digest: str
    message_id: uuid.UUID
    conversation_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class History:
    """The digests of a long call, one after each message, and how many messages were stored when they were computed.

    `staged_ids` are the ids of the other messages, once these are in the staging table of the connection that accepts
    the call (`staging.py`).
    """

    digests: tuple[str, ...]
    stored: int
    staged_ids: tuple[uuid.UUID, ...] = ()


class Prefixes:
    """The stored prefixes of a batch of questions, looked up in one statement.

    A prefix of only system messages does not count: unrelated conversations often begin with the same ones.
    """

    def __init__(self, cursor: Any, run_requests: Sequence[RunRequest]) -> None:
        self._cursor = cursor
        self._digests: dict[int, Sequence[str]] = {}
        self._untagged: dict[int, Sequence[str]] = {}
        self._first: dict[int, int] = {}
        wanted: list[str] = []
        for request in run_requests:
            if not is_threaded(request):
                continue
            first = self._first[id(request)] = _first_question(request)
            if request.history is None:
                owner_id = request.principal.user_id
                chain: Sequence[str] = digests.chain(digests.root(owner_id), request.messages)
                self._untagged[id(request)] = digests.chain(digests.untagged(owner_id), request.messages)
                wanted += [*chain[first:], *self._untagged[id(request)][first:]]
            else:
                chain = request.history.digests
                # Look up the last message that was stored, and the next one that counts: if somebody stored more of
                # this history meanwhile, the latter exists.
                stored, after = request.history.stored, max(request.history.stored, first)
                wanted += [*chain[max(stored - 1, 0) : stored], *chain[after : after + 1]]
            self._digests[id(request)] = chain
        self._stored = _look_up(cursor, wanted) if wanted else {}

    def digests_of(self, request: RunRequest) -> Sequence[str]:
        """Return the digest after each message of a threaded call."""
        return self._digests[id(request)]

    def longest(self, request: RunRequest) -> StoredPrefix | None:
        """Return the longest prefix of `request` that its principal has stored; raises HistoryChanged."""
        chain = self._digests[id(request)]
        if request.history is not None:
            stored, after = request.history.stored, max(request.history.stored, self._first[id(request)])
            if after < len(chain) and self._find(request, after + 1) is not None:
                self._stored |= _look_up(self._cursor, chain[after + 1 :])
            elif stored:
                found = self._find(request, stored)
                if found is None:
                    raise HistoryChanged
                return found
            else:
                return None
        if not self._stored:
            return None
        if found := self._longest(request):
            return found
        if id(request) in self._untagged:
            self._digests[id(request)] = self._untagged[id(request)]
            if found := self._longest(request):
                return found
            self._digests[id(request)] = chain
        return None

    def _longest(self, request: RunRequest) -> StoredPrefix | None:
        lengths = range(len(request.messages), self._first[id(request)], -1)
        return next((found for length in lengths if (found := self._find(request, length))), None)

    def _find(self, request: RunRequest, length: int) -> StoredPrefix | None:
        digest = self._digests[id(request)][length - 1]
        found = self._stored.get((digest, request.principal.user_id))
        return None if found is None else StoredPrefix(length, digest, *found)


def is_threaded(request: RunRequest) -> bool:
    """Tell whether the insertion point of the question is decided by the longest stored prefix of its messages."""
    return request.threaded and request.store and request.conversation_id is None


async def prepare(request: RunRequest) -> RunRequest:
    """Return a long call with its history looked up, any other call unchanged. Does not block the event loop."""
    if not is_threaded(request) or len(request.messages) <= MAX_SHORT:
        return request
    owner_id = request.principal.user_id
    chain = await _chain(digests.root(owner_id), request.messages)
    stored = await in_database_thread(_stored_length, request, chain)
    if not stored:
        untagged = await _chain(digests.untagged(owner_id), request.messages)
        if stored := await in_database_thread(_stored_length, request, untagged):
            chain = untagged
    return replace(request, history=History(tuple(chain), stored))


async def _chain(start: str, messages: Sequence[Wire]) -> list[str]:
    """Return the same as `digests.chain`, computed in slices, with the event loop running in between."""
    chain: list[str] = []
    for at in range(0, len(messages), SLICE):
        chain += digests.chain(chain[-1] if chain else start, messages[at : at + SLICE])
        await asyncio.sleep(0)
    return chain


def _stored_length(request: RunRequest, chain: Sequence[str]) -> int:
    """Return how many messages are stored: usually all but the last few, so the search starts at the end.

    Returns 0 if the call has too many new messages to be accepted; the lookup stops there.
    """
    end, size = len(chain), FIRST_WINDOW
    limit = settings.LIMIT_NEW_MESSAGES_PER_REQUEST
    first = max(_first_question(request), end - limit - 1 if limit else 0)
    while end > first:
        start = max(first, end - size)
        with connection.cursor() as cursor:
            found = _look_up(cursor, chain[start:end])
        for length in range(end, start, -1):
            if (chain[length - 1], request.principal.user_id) in found:
                return length
        end, size = start, min(size * 2, MAX_WINDOW)
    return 0


def _first_question(request: RunRequest) -> int:
    """Return the index of the first user message, which every prefix must include."""
    return next((at for at, wire in enumerate(request.messages) if wire.get("role") == "user"), len(request.messages))


def _look_up(cursor: Any, wanted: Sequence[str]) -> dict[tuple[str, uuid.UUID], tuple[uuid.UUID, uuid.UUID]]:
    """Return (message, conversation) by digest and owner; the newest if there are several."""
    if not wanted:
        return {}
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
