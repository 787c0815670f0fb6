"""Notifies other processes that a run has news. Only a hint: a process that misses one polls the database.

Sent through Redis if `REDIS_URL` is set; without Redis, or while it is down, readers and producers poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import uuid
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import redis.asyncio
from django.conf import settings
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from accounts.credential_watch import credential_watch

logger = logging.getLogger(__name__)

NEWS, CANCEL, ACCOUNTS = "chat:news", "chat:cancel", "chat:accounts"
RETRY_SECONDS = 2.0
PING_SECONDS = 3.0

_all: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Notifications] = weakref.WeakKeyDictionary()


def notifications() -> Notifications:
    """Return the notifications of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _all.get(loop)
    if found is None:
        found = _all[loop] = Notifications(loop)
    return found


def notify_accounts_changed() -> None:
    """Announce, from any thread, that a key was revoked or an account stopped: every process then checks at once."""
    if not settings.REDIS_URL:
        return
    client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=0.5, socket_timeout=0.5)
    with contextlib.suppress(RedisError, OSError), client:
        client.publish(ACCOUNTS, b"")


class Notifications:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watching: dict[uuid.UUID, set[asyncio.Event]] = defaultdict(set)
        self._on_cancel: Callable[[], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: redis.asyncio.Redis | None = None
        self._listening: asyncio.Task[None] | None = None
        # After a failure nothing is published for a while: otherwise each commit would try to connect to a silent
        # Redis.
        self._publish_from = 0.0
        if settings.REDIS_URL:
            self._client = redis.asyncio.from_url(
                settings.REDIS_URL, socket_connect_timeout=RETRY_SECONDS, socket_timeout=RETRY_SECONDS
            )

    @property
    def enabled(self) -> bool:
        return self._client is not None

    def notify(self, run_ids: Iterable[uuid.UUID]) -> None:
        """Announce that runs have news; does not wait for the message to be sent."""
        self._publish(NEWS, run_ids)

    def notify_cancel(self, run_id: uuid.UUID) -> None:
        """Announce that somebody asked to stop the run; its producer then checks immediately."""
        self._publish(CANCEL, [run_id])

    def wake(self, run_id: uuid.UUID) -> None:
        """Tell those who watch the run in this process that it has news."""
        for news in self._watching.get(run_id, ()):
            news.set()

    @contextlib.contextmanager
    def watch(self, run_id: uuid.UUID) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever the run has news; clear it before reading them."""
        self.listen()
        news = asyncio.Event()
        self._watching[run_id].add(news)
        try:
            yield news
        finally:
            self._watching[run_id].discard(news)
            if not self._watching[run_id]:
                del self._watching[run_id]

    def listen(self, on_cancel: Callable[[], None] | None = None) -> None:
        """Start listening, once; `on_cancel` is called when any process announces a stop request."""
        if on_cancel is not None:
            self._on_cancel = on_cancel
        if self._client is not None and self._listening is None:
            self._listening = self._loop.create_task(self._listen(self._client), context=contextvars.Context())

    async def close(self) -> None:
        tasks = [task for task in (*self._tasks, self._listening) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
        _all.pop(self._loop, None)

    # --- Redis

    def _publish(self, channel: str, run_ids: Iterable[uuid.UUID]) -> None:
        if self._client is None or self._loop.time() < self._publish_from:
            return
        text = " ".join([run_id.hex for run_id in run_ids])
        if not text:
            return
        task = self._loop.create_task(self._send(self._client, channel, text), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, client: redis.asyncio.Redis, channel: str, text: str) -> None:
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                await client.publish(channel, text)
        except (RedisError, OSError):
            # The listener logs it once; here it would be logged on every commit.
            self._publish_from = self._loop.time() + RETRY_SECONDS

    async def _listen(self, client: redis.asyncio.Redis) -> None:
        away = False
        while True:
            try:
                async with client.pubsub() as heard:
                    await heard.subscribe(NEWS, CANCEL, ACCOUNTS)
                    async for message in _while_it_answers(heard):
                        if away:
                            logger.info("notifications: Redis is back")
                        away = False
                        self._hear(message)
            except (RedisError, OSError) as error:
                if not away:
                    logger.warning(
                        "notifications: Redis is away (%s); the database is asked instead", type(error).__name__
                    )
                away = True
            await asyncio.sleep(RETRY_SECONDS)

    def _hear(self, message: dict[str, Any]) -> None:
        channel, data = message.get("channel"), message.get("data")
        if not isinstance(data, bytes):
            return
        if channel == ACCOUNTS.encode():
            credential_watch.look()
        if channel in (CANCEL.encode(), ACCOUNTS.encode()):
            # The message does not say which run to stop, or whether the request is real: the database does.
            if self._on_cancel is not None:
                self._on_cancel()
            return
        for word in data.split():
            with contextlib.suppress(ValueError):  # not from one of our processes
                self.wake(uuid.UUID(word.decode("ascii")))


async def _while_it_answers(heard: PubSub) -> AsyncIterator[dict[str, Any]]:
    """Yield the messages; raises TimeoutError when Redis does not even answer a ping."""
    pinged = False
    while True:
        message = await heard.get_message(timeout=PING_SECONDS)
        if message is not None:
            pinged = False
            yield message
        elif pinged:
            raise TimeoutError
        else:
            await heard.ping()
            pinged = True
