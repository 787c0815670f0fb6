"""Runs imports, one at a time in each process that serves, in a thread. See `HistoryImport` for claims.

Between two batches the thread rests for a part of the time that a batch took: answers are streamed by the same process.
"""

from __future__ import annotations

import datetime as dt
import logging
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.dispatch import receiver
from django.utils import timezone

from accounts.models import User
from completions.signals import sweeping
from conversations.import_files import TakenFiles
from conversations.importers import read_history, size_of
from conversations.importers.attached import find_attached
from conversations.importers.values import Broken, ImportedConversation, Skipped, Unreadable
from conversations.imports import Tally, import_batch, in_batches
from conversations.signals import import_finished
from conversations.storable import storable_json
from files.exceptions import ContentMissing
from files.models import File
from files.services import open_file
from files.storage import StorageLost, new_draft
from foundation.database import StorageError
from foundation.ids import first_id_of
from foundation.logs.tracebacks import unexpected
from foundation.outages import note_failure
from imports.models import HistoryImport

logger = logging.getLogger(__name__)
State = HistoryImport.State

LEASE = dt.timedelta(seconds=60)
"""Many times as long as a batch takes, which is what renews it."""
SAVE_SECONDS = 0.5
REST = 0.5
"""How long the thread rests after a batch, as a part of the time that it took."""
MAX_TRIES = 5
MAX_REPORTED = 100
MAX_UNPACKED_BYTES = 4 << 30
KEPT_DAYS = 30
PRUNE_SECONDS = 3600.0

_lock = threading.Lock()
_is_running = False
_is_wanted = False
_serves = False
_prune_at = 0.0


class _Refused(Exception):
    """The file cannot be imported: code and sentence for the one who started the import."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class _Over(Exception):
    """The import was cancelled, its account was closed, or another process has claimed it."""


def run_soon() -> None:
    """Run what is due in a thread; in a process that does not serve, do nothing."""
    global _is_running, _is_wanted
    if not _serves:
        return
    with _lock:
        _is_wanted = True
        if not _is_running:
            _is_running = True
            threading.Thread(target=_work, name="imports", daemon=True).start()


@receiver(sweeping)
def _sweep(sender: Any, **kwargs: Any) -> None:
    """Run what a dead process left, or a process that does not serve started. Deletes old rows."""
    global _serves, _prune_at
    _serves = True
    if HistoryImport.objects.due().exists():
        run_soon()
    if time.monotonic() >= _prune_at:
        _prune_at = time.monotonic() + PRUNE_SECONDS
        prune()


def prune() -> int:
    """Delete the imports that were over KEPT_DAYS ago; returns how many."""
    old = HistoryImport.objects.filter(pk__lt=first_id_of(timezone.now() - dt.timedelta(days=KEPT_DAYS)))
    return old.exclude(pk__in=HistoryImport.objects.pending()).delete()[0]


def run_next() -> bool:
    """Run the import that has waited longest; returns whether there was one."""
    job = _claim()
    if job is None:
        return False
    mine = HistoryImport.objects.filter(pk=job.pk, tries=job.tries, state=State.RUNNING)
    try:
        _run(job, mine)
    except _Over:
        mine.update(state=State.CANCELLED, finished_at=Now())
    except _Refused as refused:
        mine.update(
            state=State.FAILED, finished_at=Now(), error_code=refused.code, error=storable_json(refused.message[:300])
        )
    return True


def _work() -> None:
    try:
        while _take_wish():
            while run_next():
                pass
    except Exception as error:
        with _lock:
            global _is_running
            _is_running = False
        if isinstance(error, StorageError):
            note_failure(error)
        else:
            logger.warning("imports: %s, trying again", type(error).__name__, extra=unexpected(error))
    finally:
        connection.close()


def _take_wish() -> bool:
    global _is_running, _is_wanted
    with _lock:
        _is_running, _is_wanted = _is_wanted, False
        return _is_running


def _claim() -> HistoryImport | None:
    due = HistoryImport.objects.due().order_by("pk")
    if not due.exists():
        return None
    with transaction.atomic():
        skip = connection.features.has_select_for_update_skip_locked
        job = due.select_for_update(skip_locked=skip).first()
        if job is None:
            return None
        this = HistoryImport.objects.filter(pk=job.pk)
        if job.tries >= MAX_TRIES:
            error = "The service was stopped each time while it imported this file."
            this.update(state=State.FAILED, finished_at=Now(), error_code="interrupted", error=error)
            return None
        this.update(state=State.RUNNING, tries=F("tries") + 1, claimed_until=Now() + LEASE)
    job.tries += 1
    return job


def _run(job: HistoryImport, mine: QuerySet[HistoryImport]) -> None:
    progress = _Progress(mine, job.created, job.extended, job.messages, job.files)
    owner = User.objects.filter(pk=job.owner_id, is_active=True).first()
    if owner is None:
        raise _Over
    # Zips are read here and there, so the content has to be on a disk.
    with new_draft() as copy:
        _copy(job, copy)
        path = Path(copy.name)
        progress.names = path.name, job.file_name
        try:
            progress.size = size_of(path)
            if progress.size > MAX_UNPACKED_BYTES:
                raise _Refused("too_large", f"Unpacked it has more than {MAX_UNPACKED_BYTES >> 30} GB.")
            progress.save()
            _import(path, owner, progress)
        except Unreadable as error:
            raise _Refused("unreadable", str(error)) from error
    if progress.unread and not progress.has_found():
        raise _Refused("unreadable", progress.unread[0][1])
    progress.save(state=State.FINISHED, finished_at=Now())
    import_finished.send(Tally, owner=owner, tally=progress.tally)


def _copy(job: HistoryImport, copy: IO[bytes]) -> None:
    file = File.objects.filter(pk=job.file_id, owner=job.owner_id).first()
    try:
        if file is None:
            raise ContentMissing
        with open_file(file=file) as content:
            shutil.copyfileobj(content, copy)
        copy.flush()
    except ContentMissing as error:
        raise _Refused("file_not_found", "The file was deleted before it was imported.") from error
    except OSError as error:
        raise StorageLost("The storage of files is away, or the disk is full.") from error


def _import(path: Path, owner: User, progress: _Progress) -> None:
    taken = TakenFiles(owner=owner, attached=find_attached(path))
    history = read_history(path, largest=settings.LIMIT_IMPORT_BYTES or sys.maxsize, on_read=progress.note_read)
    for batch in in_batches(progress.without_reports(history)):
        began = time.monotonic()
        with taken.put_into(batch) as conversations:
            tally = import_batch(owner=owner, conversations=conversations)
        progress.add(tally, len(taken.ids))
        time.sleep((time.monotonic() - began) * REST)


@dataclass(slots=True)
class _Progress:
    """What an import has done so far, stored every SAVE_SECONDS; the first four are what an earlier try stored."""

    rows: QuerySet[HistoryImport]
    created: int
    extended: int
    messages: int
    files: int
    names: tuple[str, str] = ("", "")  # of the copy, and of the file that it is shown as
    size: int = 0
    read: int = 0
    taken: int = 0
    tally: Tally = field(default_factory=Tally)
    unread: list[tuple[str, str]] = field(default_factory=list)
    saved_at: float = 0.0

    def note_read(self, count: int) -> None:
        self.read += count
        self.save_soon()

    def add(self, tally: Tally, taken: int) -> None:
        self.tally.add(tally)
        self.tally.skipped += tally.skipped
        self.taken = taken
        self.save_soon()

    def without_reports(
        self, found: Iterable[ImportedConversation | Skipped | Broken]
    ) -> Iterator[ImportedConversation]:
        """Yield the conversations, and note what cannot be imported."""
        for each in found:
            match each:
                case Skipped():
                    self.tally.skipped.append(Skipped(each.label.replace(*self.names), each.reason))
                case Broken():
                    self.unread.append((each.name.replace(*self.names), each.reason))
                case _:
                    yield each

    def has_found(self) -> bool:
        """Tell whether there was any conversation in the file."""
        tally = self.tally
        return bool(tally.created or tally.grown or tally.unchanged or tally.skipped)

    def save_soon(self) -> None:
        if time.monotonic() > self.saved_at + SAVE_SECONDS:
            self.save()

    def save(self, **more: Any) -> None:
        """Store all of it, and keep the claim; raises _Over."""
        self.saved_at = time.monotonic()
        tally = self.tally
        ours = self.rows.filter(is_cancelling=False, owner__is_active=True)
        is_ours = ours.update(
            size=self.size,
            read=min(self.read, self.size),
            created=self.created + tally.created,
            extended=self.extended + tally.grown,
            # What an earlier try added is there already.
            unchanged=max(0, tally.unchanged - self.created - self.extended),
            skipped=len(tally.skipped),
            messages=self.messages + tally.messages,
            files=self.files + self.taken,
            report=self._report(),
            claimed_until=Now() + LEASE,
            **more,
        )
        if not is_ours:
            raise _Over

    def _report(self) -> dict[str, Any]:
        report = {
            "skipped": [(each.label, each.reason) for each in self.tally.skipped[:MAX_REPORTED]],
            "unread": self.unread[:MAX_REPORTED],
            "left_out": dict(self.tally.left_out),
        }
        return dict(storable_json(report))
