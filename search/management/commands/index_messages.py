"""`manage.py index_messages [--follow]`: bring the search index up to date; several processes share the work."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection
from tqdm import tqdm

from foundation.database import lift_time_limit, restore_time_limit
from search import indexing
from search.backends import backend
from search.embedders import CannotEmbed, loading
from search.indexer import IDLE_SECONDS, Indexer, backlog


class Command(BaseCommand):
    help = "Index all messages that are not indexed yet; with --follow, keep indexing new ones until stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--follow", action="store_true", help="keep indexing new messages until stopped")
        parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="processor cores to use")
        parser.add_argument("--text-only", action="store_true", help="index words only, without loading an embedder")

        parser.add_argument("--again", action="store_true", help="reindex every message, with new vectors")

    def handle(self, *args: Any, follow: bool, threads: int, text_only: bool, again: bool, **options: Any) -> None:
        self.stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        lift_time_limit()
        backend().install()
        if again:
            indexing.note_everything()
        missing = indexing.note_missing()
        restore_time_limit()
        if missing:
            self.stdout.write(f"{missing} messages were not indexed")
        embedder = None
        if not text_only:
            try:
                embedder = loading.current(threads=threads) if backend().has_vectors() else None
            except CannotEmbed as error:
                raise CommandError(str(error)) from error
        with tqdm(total=backlog(), unit=" messages", smoothing=0.1, file=self.stderr._out) as bar:
            indexer = Indexer(embedder=lambda: embedder, done=lambda count: self._done(bar, count))
            while not self.stopped.is_set():
                if self._step(indexer):
                    continue
                if not follow and self._finished(text_only or embedder is None):
                    break
                self.stopped.wait(IDLE_SECONDS)
        if not backend().has_vectors():
            self.stdout.write("pgvector is not installed: search works by words only.")
        if not follow and not self.stopped.is_set():
            self.stdout.write("Everything is indexed.")

    def _step(self, indexer: Indexer) -> bool:
        try:
            return indexer.step()
        except CannotEmbed as error:
            self.stderr.write(f"Waiting: {error}")
        except OperationalError as error:
            self.stderr.write(f"Waiting: {type(error).__name__}")
            connection.close()
        self.stopped.wait(5)
        return True

    def _finished(self, text_only: bool) -> bool:
        """Tell whether nothing is left. Waits for other workers' claims, because those workers may have died."""
        return indexing.all_text_is_indexed() if text_only else not backlog()

    def _done(self, bar: tqdm, count: int) -> None:
        bar.update(count)
        # More messages may have been added since the bar was drawn.
        bar.total = max(bar.total, bar.n + backlog())

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped.set()
