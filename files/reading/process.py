"""Starts the process that reads a file, and ends it at its limits."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from files.reading.values import Limits, Reading, Reason

PROJECT = Path(__file__).resolve().parents[2]
REASONS = dict(enumerate(Reason))
TIMED_OUT = frozenset({-signal.SIGXCPU, -signal.SIGALRM})


class Stopped(Exception):
    """The reading was ended by `stop`: the process that asked for it ends as well."""


class Processes:
    """The processes that read at the moment, so that they can be ended together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    @contextlib.contextmanager
    def started(self, command: list[str], source: IO[bytes], output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        """Start a process; at the end of the block it is no more, nor are its children. Raises Stopped."""
        with self._lock:
            if self._stopped:
                raise Stopped
            # Without the environment, which has keys and passwords of the service.
            process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env={},
                stdin=source,
                stdout=output,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._running.add(process)
        try:
            yield process
        finally:
            _kill(process)
            process.wait()
            with self._lock:
                self._running.discard(process)
        if self._stopped:
            raise Stopped

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)

    def allow(self) -> None:
        self._stopped = False


processes = Processes()


def read(content: IO[bytes], media_type: str, limits: Limits, *, draft: Callable[[], IO[bytes]]) -> Reading:
    """Return the text of a file. `draft` makes a file on disk without a name. Raises Stopped and OSError."""
    numbers = (limits.chars, limits.memory_bytes, limits.cpu_seconds, limits.seconds)
    command = [sys.executable, "-m", "files.reading", media_type, *map(str, numbers)]
    with contextlib.ExitStack() as held:
        source = content if _is_on_disk(content) else held.enter_context(_copy(content, draft()))
        output = held.enter_context(draft())
        process = held.enter_context(processes.started(command, source, output))
        try:
            code = process.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            code = -signal.SIGALRM
        reason = Reason.TIME if code in TIMED_OUT else REASONS.get(code, Reason.CRASHED)
        output.seek(0)
        # A character may be cut at the end, and the output is only as long as the process was allowed to make it.
        return Reading(output.read().decode("utf-8", "ignore").replace("\x00", "")[: limits.chars], reason)


def _is_on_disk(content: IO[bytes]) -> bool:
    try:
        return os.lseek(content.fileno(), 0, os.SEEK_SET) == 0
    except (AttributeError, OSError):
        return False


def _copy(content: IO[bytes], draft: IO[bytes]) -> IO[bytes]:
    """Copy content that is somewhere else, in a bucket for example, to this machine."""
    shutil.copyfileobj(content, draft)
    draft.flush()
    draft.seek(0)
    return draft


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children: it leads a group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
