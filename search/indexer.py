"""The indexer: a loop that indexes what the database's triggers noted, in a thread of the service or in a command."""

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

from foundation.database import StorageError, release_connection
from foundation.logs.tracebacks import unexpected
from foundation.outages import note_failure
from search import indexing
from search.backends import backend
from search.embedders import CannotEmbed, Embedder, loading
from search.models import PendingMessage
from search.reanalysis import BATCH, remake_terms

logger = logging.getLogger(__name__)
IDLE_SECONDS = 0.5
TROUBLE_SECONDS = 5.0
COMPACT_SECONDS = 600.0  # a compaction rewrites the whole index
COMPACT_PAUSE = 0.05
ANALYSED_SECONDS = 600.0
NICENESS = 10  # niceness of the indexer's thread: answers take precedence
# While answers are being written: messages per batch, the thread's share of the time, and its longest pause.
BUSY_BATCH, BUSY_SHARE, MAX_PAUSE_SECONDS = 16, 0.1, 5.0


@dataclass(slots=True)
class Indexer:
    """A worker that calls `done` with the number of messages it has finished, and uses small batches while `busy`."""

    embedder: Callable[[], Embedder | None]
    done: Callable[[int], None] = lambda count: None
    busy: Callable[[], bool] = lambda: False
    semantic_checked: bool = False
    compacted: float = -math.inf
    analysed: float = -math.inf

    def step(self) -> bool:
        """Do the next part of the work, text before vectors; returns whether there was any. Raises CannotEmbed."""
        return self._index() or self._compact()

    def _index(self) -> bool:
        busy = self.busy()
        if indexing.index_text(limit=BUSY_BATCH if busy else indexing.TEXT_BATCH):
            return True
        if self._remake_terms(busy):
            return True
        if not backend().has_vectors():
            return self._without_vectors()
        embedder = self.embedder()
        if embedder is None:
            return False
        count = indexing.index_semantic(embedder, limit=BUSY_BATCH if busy else indexing.SEMANTIC_BATCH)
        if count:
            self.done(count)
            return True
        if not self.semantic_checked:
            # Nothing is pending: check that every message is embedded by the current embedder.
            self.semantic_checked = not indexing.note_outdated(embedder)
            return not self.semantic_checked
        return False

    def _remake_terms(self, busy: bool) -> bool:
        """Make terms of another analysis anew; every ANALYSED_SECONDS, as another version may still be running."""
        now = time.monotonic()
        if now < self.analysed + ANALYSED_SECONDS:
            return False
        if remake_terms(limit=BUSY_BATCH if busy else BATCH):
            return True
        self.analysed = now
        return False

    def _compact(self) -> bool:
        """When idle, every COMPACT_SECONDS, remove what deleted messages left in the index."""
        now = time.monotonic()
        if self.busy() or not backend().compact(begin=now >= self.compacted + COMPACT_SECONDS):
            return False
        self.compacted = now
        time.sleep(COMPACT_PAUSE)  # each step holds SQLite's write lock, so other writers wait for it
        return True

    def _without_vectors(self) -> bool:
        """Drop the pending work that needs vectors; it is noted again once the database can store them."""
        count, _ = PendingMessage.objects.filter(stage=PendingMessage.Stage.SEMANTIC).delete()
        self.done(count)
        return False


def backlog() -> int:
    """Return how many messages wait for the index."""
    return PendingMessage.objects.count()


_thread: threading.Thread | None = None
_stop = threading.Event()


def start(busy: Callable[[], bool] = lambda: False) -> None:
    """Start a thread that loads the embedder and indexes, using little time while this process is `busy`."""
    global _thread
    if _thread is None or not _thread.is_alive():
        _stop.clear()
        _thread = threading.Thread(target=_run, args=(busy,), name="indexer", daemon=True)
        _thread.start()


def stop(timeout: float = 5.0) -> None:
    """End the thread after its current batch."""
    _stop.set()
    if _thread is not None:
        _thread.join(timeout)


def _run(busy: Callable[[], bool]) -> None:
    _lower_priority()
    indexer = Indexer(embedder=loading.ready, busy=busy)
    loading.start()
    while not _stop.is_set():
        pause = IDLE_SECONDS
        began = time.monotonic()
        try:
            if indexer.step():
                took = time.monotonic() - began
                pause = min(took * (1 / BUSY_SHARE - 1), MAX_PAUSE_SECONDS) if busy() else 0.0
        except CannotEmbed as error:
            logger.warning("indexing waits: %s", error)
            pause = TROUBLE_SECONDS
        except DatabaseError as error:
            if isinstance(error, StorageError):
                note_failure(error)
            else:
                logger.warning("indexing waits: %s", type(error).__name__)
            connection.close()
            pause = TROUBLE_SECONDS
        except Exception as error:
            logger.error("indexing failed: %s", type(error).__name__, extra=unexpected(error))
            connection.close()
            pause = TROUBLE_SECONDS
        finally:
            if pause:
                release_connection()
        _stop.wait(pause)
    connection.close()


def _lower_priority() -> None:
    """Lower the priority of this thread: on Linux each thread has a niceness of its own.

    Not on SQLite: while it holds the one lock for writing, all writers would wait for a slow thread.
    """
    if sys.platform != "linux" or connection.vendor == "sqlite":
        return
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    except OSError:
        pass
