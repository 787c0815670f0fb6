"""For tests of the journal, the runner and readers: real commits, visible to real threads, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import connection, connections
from django.test import override_settings

from accounts.models import User
from chatservice.testing import KeptTablesTestCase
from completions import providers, services
from completions.journal import journal
from completions.live import LIVE
from completions.readers import subscribe
from completions.run_requests import RunHandle, RunRequest
from completions.tests.asking import somebody
from completions.tests.invariants import invariants
from completions.types import Delta, ReaderEvent, Resync, RunFinished

RELAXED = {
    "LIMIT_RUNS_PER_USER": 0,
    "LIMIT_RUNS_PER_IP": 0,
    "LIMIT_RUN_STARTS_PER_MINUTE": 0,
    "ECHO_DELAY": 0.0,
}


class CommittedTestCase(KeptTablesTestCase):
    """Every test creates its own users. Nothing is rolled back; at the end every run must be over and consistent."""

    def setUp(self) -> None:
        super().setUp()
        self.alice, self.bob = somebody("alice"), somebody("bob")
        relaxed = override_settings(**RELAXED)
        relaxed.enable()
        self.addCleanup(relaxed.disable)

    def in_loop(self, test: Callable[[], Awaitable[Any]], *, sound: bool = True) -> Any:
        """Run `test` in an event loop with a journal of its own, as a server process would."""

        async def main() -> Any:
            try:
                return await asyncio.wait_for(test(), 30)
            finally:
                for live in list(LIVE.values()):
                    live.cancel()
                    if live.task is not None:
                        await asyncio.wait({live.task}, timeout=10)
                LIVE.clear()
                await journal().close()
                await providers.close_all()

        try:
            return asyncio.run(main())
        finally:
            if connection.vendor != "sqlite":
                connections.close_all()
            if sound:
                self.assertEqual(self.wrong(), [])

    def wrong(self, **options: bool) -> list[str]:
        return invariants([self.alice, self.bob], **options)

    @property
    def users(self) -> list[User]:
        return [self.alice, self.bob]


async def finished(question: RunRequest) -> tuple[RunHandle, list[ReaderEvent]]:
    """Ask, and return every event that a reader gets, up to the end."""
    handle = await services.submit(question)
    return handle, await follow(handle)


async def follow(handle: RunHandle, **options: Any) -> list[Any]:
    return [event async for event in subscribe(handle.run_id, **options)]


def text_of(events: list[Any]) -> str:
    """Return the text that a reader has after `events`."""
    text = ""
    for event in events:
        if isinstance(event, Resync):
            text = event.text
        elif isinstance(event, Delta):
            text += event.text
    return text


def endings(events: list[Any]) -> list[RunFinished]:
    return [event for event in events if isinstance(event, RunFinished)]
