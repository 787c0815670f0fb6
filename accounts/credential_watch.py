"""Ends open streams and sockets whose credential became invalid: one check for the whole process, twice a second.

The key was revoked or expired, the session is over, or the account was deactivated, erased or stopped. A change made in
this process, or announced to it, is checked immediately.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime as dt
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.db.models import QuerySet

from accounts.callers import Principal
from accounts.models import ApiKey, User
from accounts.principal import forget_accounts
from accounts.sessions import users_of_sessions
from accounts.signals import account_deleted, accounts_stopped, api_key_revoked
from foundation.database import in_database_thread

logger = logging.getLogger(__name__)

RECHECK_SECONDS = 0.5
# Longer, because each session has to be decoded. The sessions of a deactivated account are ended by the other check.
RECHECK_SESSIONS_SECONDS = 3.0
MAX_IDS = 500  # in one statement


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a stream or socket ends, in the words its client sees."""

    code: str
    message: str
    status: int


KEY_GONE = Refusal("unauthorized", "This key is no longer valid.", 401)
SIGNED_OUT = Refusal("unauthorized", "Your session has ended. Sign in again.", 401)
ACCOUNT_GONE = Refusal("unauthorized", "This account is no longer active.", 401)
STOPPED = Refusal("stopped", "All activity of this account was stopped by staff.", 409)


class Watched:
    """An open stream or socket. Once it must end, `refusal` is set, and `on_refusal` is called in its event loop."""

    __slots__ = ("on_refusal", "principal", "refusal")

    def __init__(self, principal: Principal, on_refusal: Callable[[], None]) -> None:
        self.principal = principal
        self.on_refusal = on_refusal
        self.refusal: Refusal | None = None


class Watching:
    """Context manager of `watching`. A class, because a generator could be closed twice in an abandoned stream."""

    def __init__(self, watch: CredentialWatch, principal: Principal | None, on_refusal: Callable[[], None]) -> None:
        self._watch, self._principal, self._on_refusal = watch, principal, on_refusal
        self._watched: Watched | None = None

    def __enter__(self) -> Watched | None:
        if self._principal is not None:
            self._watched = self._watch.begin(self._principal, self._on_refusal)
        return self._watched

    def __exit__(self, *exception: object) -> None:
        if self._watched is not None:
            self._watch.end(self._watched)


class CredentialWatch:
    def __init__(self) -> None:
        self._open: set[Watched] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._look = asyncio.Event()
        self._sessions_at = 0.0

    def begin(self, principal: Principal, on_refusal: Callable[[], None]) -> Watched:
        """Watch a stream or socket of `principal` until `end`."""
        watched = Watched(principal, on_refusal)
        self._open.add(watched)
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._loop is not loop:
            self._loop, self._look = loop, asyncio.Event()
            # In an empty context: the task must not inherit the context variables of the first request.
            self._task = loop.create_task(self._sweep(), context=contextvars.Context())
        return watched

    def end(self, watched: Watched) -> None:
        self._open.discard(watched)
        if not self._open and self._task is not None:
            self._task.cancel()
            self._task = None

    def watching(self, principal: Principal | None, on_refusal: Callable[[], None]) -> Watching:
        """Watch for the duration of the block; without a principal nothing is checked."""
        return Watching(self, principal, on_refusal)

    async def check(self, watched: Watched) -> None:
        """Check one stream or socket now; while the database is down none is refused."""
        with contextlib.suppress(DatabaseError, InterfaceError):
            refused = await in_database_thread(find_refused, [watched.principal])
            watched.refusal = refused.get(watched.principal)

    def look(self) -> None:
        """Check all of them now. May be called from any thread."""
        loop = self._loop
        if self._open and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._look.set)

    async def _sweep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECHECK_SECONDS):
                    await self._look.wait()
            self._look.clear()
            with_sessions = time.monotonic() >= self._sessions_at
            if with_sessions:
                self._sessions_at = time.monotonic() + RECHECK_SESSIONS_SECONDS
            principals = {watched.principal for watched in self._open}
            try:
                refused = await in_database_thread(find_refused, principals, with_sessions)
            except Exception as error:  # the database will be back: an outage closes no stream
                logger.warning("credentials of open streams could not be checked: %s", type(error).__name__)
                continue
            # The client's next request must not be admitted from the cache.
            forget_accounts(each.user_id for each in refused)
            for watched in [each for each in self._open if each.refusal is None and each.principal in refused]:
                watched.refusal = refused[watched.principal]
                watched.on_refusal()


credential_watch = CredentialWatch()


def find_refused(principals: Iterable[Principal], with_sessions: bool = True) -> dict[Principal, Refusal]:
    """Return those that are no longer admitted, and why. Uses three statements, and a few more beyond MAX_IDS."""
    asked = list(principals)
    accounts = _accounts({each.user_id for each in asked})
    key_ids = {each.key_id for each in asked if each.key_id is not None}
    keys: set[uuid.UUID] = set()
    for rows in _by_ids(ApiKey.objects.usable(), key_ids):
        keys.update(rows.values_list("pk", flat=True))
    sessions = users_of_sessions({each.session for each in asked if each.session}) if with_sessions else {}
    refused = {}
    for each in asked:
        stopped_at = accounts.get(each.user_id, ACCOUNT_GONE)
        if isinstance(stopped_at, Refusal):
            refused[each] = stopped_at
        elif stopped_at != each.stopped_at:
            refused[each] = STOPPED
        elif each.key_id is not None and each.key_id not in keys:
            refused[each] = KEY_GONE
        elif each.session and with_sessions and each.session not in sessions:
            refused[each] = SIGNED_OUT
    return refused


def _accounts(ids: set[uuid.UUID]) -> dict[uuid.UUID, dt.datetime | None]:
    """Return which of these accounts are active, and when each was stopped last."""
    found: dict[uuid.UUID, dt.datetime | None] = {}
    for rows in _by_ids(User.objects.filter(is_active=True), ids):
        found.update(rows.values_list("pk", "stopped_at"))
    return found


def _by_ids(rows: QuerySet[Any], ids: set[uuid.UUID]) -> Iterator[QuerySet[Any]]:
    wanted = list(ids)
    for at in range(0, len(wanted), MAX_IDS):
        yield rows.filter(pk__in=wanted[at : at + MAX_IDS])


def _look(sender: Any, **kwargs: Any) -> None:
    credential_watch.look()


for signal in (account_deleted, accounts_stopped, api_key_revoked):
    signal.connect(_look)
