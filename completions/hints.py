"""Word from process to process that a run has news. A hint and nothing more: whoever hears none asks the database.

Over Redis, where `REDIS_URL` names one; without it, and while it is away, readers and producers poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import uuid
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import redis.asyncio
from django.conf import settings
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

NEWS, CANCEL = "chat:news", "chat:cancel"
RETRY_SECONDS = 2.0

_all: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hints] = weakref.WeakKeyDictionary()


def hints() -> Hints:
    """Return the hints of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _all.get(loop)
    if found is None:
        found = _all[loop] = Hints(loop)
    return found


class Hints:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watching: dict[uuid.UUID, set[asyncio.Event]] = defaultdict(set)
        self._on_cancel: Callable[[], None] | None = None
        self._tasks: set[asyncio.Task] = set()
        self._client: redis.asyncio.Redis | None = None
        self._listening: asyncio.Task | None = None
        if settings.REDIS_URL:
            self._client = redis.asyncio.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=None)

    @property
    def enabled(self) -> bool:
        return self._client is not None

    def tell(self, run_ids: Iterable[uuid.UUID]) -> None:
        """Say that runs have news, without waiting for it to be heard."""
        self._publish(NEWS, run_ids)

    def tell_cancel(self, run_id: uuid.UUID) -> None:
        """Say that somebody wishes a run to stop; its producer then looks at once."""
        self._publish(CANCEL, [run_id])

    @contextlib.contextmanager
    def watch(self, run_id: uuid.UUID) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever the run has news; clear it before looking."""
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
        """Begin to listen, once; `on_cancel` is called when somebody somewhere wishes a run to stop."""
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
        if self._client is None:
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
        except (RedisError, OSError, TimeoutError):
            pass  # the listener says so, once; a publisher would in every commit

    async def _listen(self, client: redis.asyncio.Redis) -> None:
        away = False
        while True:
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as heard:
                    await heard.subscribe(NEWS, CANCEL)
                    if away:
                        logger.info("hints: Redis is back")
                    away = False
                    async for message in heard.listen():
                        self._hear(message)
            except (RedisError, OSError) as error:
                if not away:
                    logger.warning("hints: Redis is away (%s); the database is asked instead", type(error).__name__)
                away = True
            await asyncio.sleep(RETRY_SECONDS)

    def _hear(self, message: dict) -> None:
        channel, data = message.get("channel"), message.get("data")
        if not isinstance(data, bytes):
            return
        if channel == CANCEL.encode():
            # Whose run it is, and whether it is true, the database knows.
            if self._on_cancel is not None:
                self._on_cancel()
            return
        for word in data.split():
            with contextlib.suppress(ValueError):  # not from one of us
                for news in self._watching.get(uuid.UUID(word.decode("ascii")), ()):
                    news.set()
