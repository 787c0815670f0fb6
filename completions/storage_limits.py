"""How much a question may store: counted in the accept transaction, exact across processes.

Three limits: new messages per request, rows per caller and minute, and the total storage of an account. Each caller's
counter is written after `Admission`'s, also in key order, so accepts of one caller wait for each other without a
deadlock. Refused questions do not count. Nor do short ones, if the limit on answers per minute already keeps their rows
below the limit on rows.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.conf import settings

from accounts.throttling import CountedAhead
from completions.admission import max_starts
from completions.exceptions import InvalidRequest, StorageFull, TooManyMessages
from completions.prefixes import MAX_SHORT
from conversations import quota

if TYPE_CHECKING:
    from completions.run_requests import RunRequest

ANSWER = 1
"""The row of the answer, beside the new messages."""


class StorageLimits:
    """The limits for one batch of questions. The counters are fetched when they are used, as those of `Admission`."""

    def __init__(self, cursor: Any, run_requests: Sequence[RunRequest]) -> None:
        self._cursor = cursor
        rows: Counter[str] = Counter()
        self._max_rows = settings.LIMIT_ROWS_PER_MINUTE
        self._is_limited = quota.is_limited()
        for request in run_requests:
            if self._is_counted(request):
                rows[_rows_key(request)] += request.new_messages + ANSWER
        self._written = CountedAhead(rows)
        self._keeping = {request.principal.counted_id for request in run_requests if request.store}

    @cached_property
    def _held(self) -> dict[uuid.UUID, quota.Held]:
        return quota.held_about(self._cursor, self._keeping) if self._is_limited else {}

    def check(self, request: RunRequest, owner_id: uuid.UUID, new: int) -> None:
        """Let a question store `new` messages and its answer, or raise TooManyMessages or StorageFull."""
        if self._is_counted(request) and self._written.used[_rows_key(request)] + new + ANSWER > self._max_rows:
            message = f"At most {self._max_rows} messages a minute can be stored (LIMIT_ROWS_PER_MINUTE)."
            raise TooManyMessages(message, retry_after=self._written.seconds_left)
        if self._is_limited:
            counted_id = _counted_id(request, owner_id)
            if counted_id not in self._held:
                self._held |= quota.held_about(self._cursor, {counted_id})
            if reason := quota.reason_against(self._held[counted_id], messages=new + ANSWER):
                raise StorageFull(reason)

    def admitted(self, request: RunRequest, owner_id: uuid.UUID, new: int) -> None:
        """Count the rows that the batch is about to insert."""
        if self._is_counted(request):
            self._written.happens(_rows_key(request), new + ANSWER)
        counted_id = _counted_id(request, owner_id)
        if counted_id in self._held:
            held = self._held[counted_id]
            self._held[counted_id] = held._replace(messages=held.messages + new + ANSWER)

    def _is_counted(self, request: RunRequest) -> bool:
        return request.principal.is_counted and request.store and request.new_messages > _max_uncounted(request)

    def close(self) -> None:
        """Uncount messages that are not stored after all, or were stored before."""
        self._written.close(self._cursor)


def check_new_messages(new: int) -> None:
    """Raise InvalidRequest if a request brings more new messages than LIMIT_NEW_MESSAGES_PER_REQUEST allows."""
    limit = settings.LIMIT_NEW_MESSAGES_PER_REQUEST
    if limit and new > limit:
        raise InvalidRequest(
            f"A request may bring at most {limit} messages that are not stored yet "
            f"(LIMIT_NEW_MESSAGES_PER_REQUEST); this one brings up to {new}.",
            param="messages",
        )


def _max_uncounted(request: RunRequest) -> float:
    """Return how many messages a question may bring without being counted; -1 if every question counts."""
    limit, starts = settings.LIMIT_ROWS_PER_MINUTE, max_starts(request.principal)
    if not limit:
        return math.inf
    return MAX_SHORT if starts and starts * (MAX_SHORT + ANSWER) <= limit else -1


def _counted_id(request: RunRequest, owner_id: uuid.UUID) -> uuid.UUID:
    """Return the account whose quota a question uses: the owner's if a guest writes in another guest's conversation."""
    return request.principal.counted_id if owner_id == request.principal.user_id else owner_id


def _rows_key(request: RunRequest) -> str:
    return f"rows:{request.principal.limit_key}"
