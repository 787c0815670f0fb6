"""The indexer: works off what the database noted, for as long as it runs. In a thread of the service, or a command."""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import Error as DatabaseError
from django.db import connection

from accounts.database import release_connection
from search import indexing
from search.backends import backend
from search.embedders import CannotEmbed, Embedder, loading
from search.models import PendingMessage

logger = logging.getLogger(__name__)
IDLE_SECONDS = 0.5
TROUBLE_SECONDS = 5.0
COMPACT_SECONDS = 600.0  # a compaction rewrites the whole index
COMPACT_PAUSE = 0.05
POLITE = 10  # niceness of the thread: answers come first
# While answers are being written: messages at once, the thread's share of the time, and its longest pause in seconds.
BITE, SHARE, LONGEST_PAUSE = 16, 0.1, 5.0


@dataclass(slots=True)
class Indexer:
    """One worker. `done` is told how many messages were finished, whenever some were; while `busy` it takes bites."""

    embedder: Callable[[], Embedder | None]
    done: Callable[[int], None] = lambda count: None
    busy: Callable[[], bool] = lambda: False
    meaning_checked: bool = False
    compacted: float = -math.inf

    def step(self) -> bool:
        """Do the next piece of work, words before meaning; returns whether there was any. Raises CannotEmbed."""
        return self._index() or self._compact()

    def _index(self) -> bool:
        busy = self.busy()
        if indexing.index_text(most=BITE if busy else indexing.TEXT_BATCH):
            return True
        if not backend().has_vectors():
            return self._without_vectors()
        embedder = self.embedder()
        if embedder is None:
            return False
        count = indexing.index_meaning(embedder, most=BITE if busy else indexing.MEANING_BATCH)
        if count:
            self.done(count)
            return True
        if not self.meaning_checked:
            # Once in a while nothing is left: is everything there, and by the embedder in use?
            self.meaning_checked = not indexing.note_outdated(embedder)
            return not self.meaning_checked
        return False

    def _compact(self) -> bool:
        """Now and then, when there is nothing else to do, remove what deleted messages left in the index."""
        now = time.monotonic()
        if self.busy() or not backend().compact(begin=now >= self.compacted + COMPACT_SECONDS):
            return False
        self.compacted = now
        time.sleep(COMPACT_PAUSE)  # each part holds the lock of a file that others want to write to
        return True

    def _without_vectors(self) -> bool:
        """Let go of what only vectors would need; should they come, it is found again."""
        count, _ = PendingMessage.objects.filter(stage=PendingMessage.Stage.MEANING).delete()
        self.done(count)
        return False


def backlog() -> int:
    """Return how many messages wait for the index."""
    return PendingMessage.objects.count()


_thread: threading.Thread | None = None
_stop = threading.Event()


def start(busy: Callable[[], bool] = lambda: False) -> None:
    """Begin to index in a thread of this process, with little of its time while it is `busy`; load the embedder."""
    global _thread
    if _thread is None or not _thread.is_alive():
        _stop.clear()
        _thread = threading.Thread(target=_run, args=(busy,), name="indexer", daemon=True)
        _thread.start()


def stop(timeout: float = 5.0) -> None:
    """End the thread after the batch it is at."""
    _stop.set()
    if _thread is not None:
        _thread.join(timeout)


def _run(busy: Callable[[], bool]) -> None:
    _be_polite()
    indexer = Indexer(embedder=loading.ready, busy=busy)
    loading.start()
    while not _stop.is_set():
        pause = IDLE_SECONDS
        began = time.monotonic()
        try:
            if indexer.step():
                took = time.monotonic() - began
                pause = min(took * (1 / SHARE - 1), LONGEST_PAUSE) if busy() else 0.0
        except CannotEmbed as error:
            logger.warning("indexing waits: %s", error)
            pause = TROUBLE_SECONDS
        except DatabaseError as error:
            logger.warning("indexing waits: %s", type(error).__name__)
            connection.close()
            pause = TROUBLE_SECONDS
        except Exception as error:
            logger.error("indexing failed: %s", type(error).__name__)
            connection.close()
            pause = TROUBLE_SECONDS
        finally:
            if pause:
                release_connection()
        _stop.wait(pause)
    connection.close()


def _be_polite() -> None:
    """Make this thread give way to the others; on Linux a thread has a niceness of its own."""
    if sys.platform != "linux":
        return
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), POLITE)
    except OSError:
        pass
