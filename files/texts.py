"""What files say: each content of an owner is read once, in the background, by whichever process claims it first.

The row that waits is committed together with its file, and a claim expires, so no file is forgotten by a process that
dies.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.expressions import RawSQL

from files.models import File, FileText
from files.reading.process import Stopped, processes, read
from files.reading.values import MODULES, Limits, Reading, Reason
from files.storage import storage, unnamed_draft
from foundation.database import StorageError, database_clock, release_connection
from foundation.outages import note_failure

logger = logging.getLogger(__name__)

CLAIM_SECONDS = 90  # longer than any reading takes
MAX_TRIES = 3
THREADS = 2
IDLE_SECONDS = 2.0

State = FileText.State
UNSUPPORTED = "unsupported"  # instead of a state, for files that are not read
# Files of which nobody expects words.
SPEECHLESS = ("image/", "audio/", "video/")
EXPLANATIONS = {
    Reason.LENGTH: "is longer than the service reads",
    Reason.TIME: "takes too long to read",
    Reason.MEMORY: "takes too much memory to read",
    Reason.ENCRYPTED: "is protected by a password",
    Reason.DAMAGED: "cannot be read: the file is damaged",
    Reason.MISSING: "cannot be read: its content is missing",
    Reason.CRASHED: "cannot be read",
}

_waiting = threading.Event()
_stop = threading.Event()
_threads: list[threading.Thread] = []


def is_readable(media_type: str) -> bool:
    """Tell whether a file of this media type may say anything, and files are read at all."""
    return media_type in MODULES and settings.FILE_TEXT_CHARS > 0


def explanation(media_type: str, state: str, reason: str) -> str:
    """Return a sentence about why a text is missing or incomplete; '' if there is nothing to say."""
    if state == UNSUPPORTED:
        return "" if media_type.startswith(SPEECHLESS) else "The text of this file is not read."
    if state == State.WAITING:
        return "The text of this file has not been read yet."
    if state == State.EMPTY:
        return "This file has no text."
    why = EXPLANATIONS.get(Reason(reason))
    return f"The {'rest of the ' if state == State.READ else ''}text of this file {why}." if why else ""


def want_texts(files: Iterable[File]) -> None:
    """Note that files are to be read whose content is not known. Call it in the transaction that adds the files."""
    wanted = [FileText(owner_id=file.owner_id, sha256=file.sha256) for file in files if is_readable(file.media_type)]
    if wanted:
        FileText.objects.bulk_create(wanted, ignore_conflicts=True)
        transaction.on_commit(_waiting.set)


def read_next() -> bool:
    """Read the newest file that waits; returns whether there was one. Raises Stopped."""
    if not FileText.objects.waiting().unclaimed().exists():  # checked first without a lock
        return False
    found = _claim()
    if found is not None:
        try:
            _store(found, _read(found))
        except Exception as error:
            # The storage is away, or this process ends: nobody died over this file.
            FileText.objects.filter(pk=found.pk).update(
                tries=F("tries") - 1, **({"claimed_until": 0} if isinstance(error, Stopped) else {})
            )
            raise
    return True


def start() -> None:
    """Start the threads that read files in this process, if files are to be read."""
    if not settings.FILE_TEXT_CHARS:
        return
    _stop.clear()
    processes.allow()
    _threads[:] = [threading.Thread(target=_read_forever, name=f"reader-{n}", daemon=True) for n in range(THREADS)]
    for thread in _threads:
        thread.start()


def stop(timeout: float = 5.0) -> None:
    """End the threads. What they are reading is released for other processes."""
    _stop.set()
    _waiting.set()
    processes.stop()
    for thread in _threads:
        thread.join(timeout)


def _claim() -> FileText | None:
    with transaction.atomic():
        rows = FileText.objects.waiting().unclaimed().order_by("-id")
        skip = connection.features.has_select_for_update_skip_locked
        found = (rows.select_for_update(skip_locked=True) if skip else rows).first()
        if found is not None:
            until = RawSQL(f"{database_clock()} + {CLAIM_SECONDS}", [])  # noqa: S611  an expression of ours
            FileText.objects.filter(pk=found.pk).update(claimed_until=until, tries=F("tries") + 1)
    return found


def _read(found: FileText) -> Reading:
    """Return what the content says; raises Stopped, and whatever the storage raises."""
    file = File.objects.with_content(found.owner_id, found.sha256).first()
    if file is None:
        return Reading("", Reason.MISSING)  # it was deleted just now, and the row with it
    if found.tries >= MAX_TRIES:
        return Reading("", Reason.CRASHED)
    release_connection()
    try:
        with storage().open(file.stored_name, "rb") as content:
            return read(content, file.media_type, Limits(settings.FILE_TEXT_CHARS), draft=unnamed_draft)
    except FileNotFoundError:
        return Reading("", Reason.MISSING)


def _store(found: FileText, reading: Reading) -> None:
    text = reading.text.strip()
    state = State.READ if text else State.FAILED if reading.reason else State.EMPTY
    FileText.objects.waiting().filter(pk=found.pk).update(
        state=state, reason=reading.reason, text=text, chars=len(text), claimed_until=0
    )


def _read_forever() -> None:
    while not _stop.is_set():
        try:
            if read_next():
                continue
        except Stopped:
            pass
        except Exception as error:
            if isinstance(error, StorageError):
                note_failure(error)
            else:
                logger.warning("a file is read later (%s)", type(error).__name__)
            connection.close()
        finally:
            release_connection()
        _waiting.wait(IDLE_SECONDS)
        _waiting.clear()
    connection.close()
