"""This process's identity as a producer of runs, and the database's clock, which times its leases."""

from __future__ import annotations

import functools
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any

from foundation.database import database_clock

_sample: tuple[int, float, float] | None = None
SAMPLE_SECONDS = 30.0


def database_time(cursor: Any) -> float:
    """Return the database's time in Unix seconds; queried now and then, extrapolated in between.

    Extrapolated by the monotonic clock, because a jump of the wall clock must not shorten a lease.
    """
    global _sample
    now = time.monotonic()
    if _sample is None or _sample[0] != os.getpid() or now - _sample[1] > SAMPLE_SECONDS:
        cursor.execute(f"SELECT {database_clock()}")
        _sample = (os.getpid(), now, float(cursor.fetchone()[0]))
    return _sample[2] + now - _sample[1]


@functools.cache
def host_id() -> str:
    """Identify this host, boot and process namespace: process ids are unique only within these."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
        return f"{socket.gethostname()[:40]}-{boot.read_text().strip()[:8]}-{namespace}"
    except OSError:
        return socket.gethostname()[:60]


_identity: tuple[int, str] | None = None


def worker_id() -> str:
    """Return `host:pid:nonce`; a forked process gets a new one."""
    global _identity
    pid = os.getpid()
    if _identity is None or _identity[0] != pid:
        _identity = (pid, f"{host_id()}:{pid}:{uuid.uuid4().hex[:12]}")
    return _identity[1]


def is_certainly_dead(worker: str) -> bool:
    """Tell whether `worker` ran on this host and has died; False if this host cannot know."""
    host, _, rest = worker.partition(":")
    pid, _, _ = rest.partition(":")
    if host != host_id() or not pid.isdigit() or worker == worker_id():
        return False
    if int(pid) == os.getpid():
        return True  # an earlier process had our process id
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
