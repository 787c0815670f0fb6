"""The process that reads one file: it comes in as the standard input, and what it says goes out as UTF-8.

python -m files.reading MEDIA_TYPE CHARS MEMORY_BYTES CPU_SECONDS SECONDS

The exit code is the place of the reason in `Reason`. The process limits itself before it looks at the file, so that it
also ends if the service that started it dies.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator
from importlib import import_module

from files.reading.values import MODULES, Encrypted, Limits, Reason

MAX_BYTES_PER_CHAR = 4
PAGE_BYTES = 4_096
NICENESS = 10


def confine(limits: Limits) -> None:
    """Limit this process for good: no children, no files but the one it writes, no core dump."""
    os.nice(NICENESS)
    signal.alarm(limits.seconds)
    cpu, output = limits.cpu_seconds, limits.chars * MAX_BYTES_PER_CHAR + PAGE_BYTES
    for what, soft, hard in (
        (resource.RLIMIT_AS, limits.memory_bytes, limits.memory_bytes),
        (resource.RLIMIT_CPU, cpu, cpu + 1),  # a signal that tells why, and then one that nobody can ignore
        (resource.RLIMIT_FSIZE, output, output),
        (resource.RLIMIT_NPROC, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # not every system limits memory
            resource.setrlimit(what, (soft, hard))


def write(pieces: Iterator[str], chars: int) -> Reason:
    """Write at most `chars` characters of the text; returns why not all of it."""
    left = chars
    try:
        for piece in pieces:
            text = piece.replace("\x00", "")
            sys.stdout.buffer.write(text[:left].encode("utf-8", "replace"))
            sys.stdout.buffer.flush()  # what has been read until a limit is reached is kept
            if len(text) > left:
                return Reason.LENGTH
            left -= len(text)
    except Encrypted:
        return Reason.ENCRYPTED
    except MemoryError:
        return Reason.MEMORY
    except Exception:
        return Reason.DAMAGED
    return Reason.NONE


def main(media_type: str, *numbers: str) -> Reason:
    limits = Limits(*map(int, numbers))
    confine(limits)
    try:
        module = import_module(f"files.reading.{MODULES[media_type]}")
    except MemoryError:
        return Reason.MEMORY
    return write(module.pieces(sys.stdin.buffer), limits.chars)


if __name__ == "__main__":
    # Without the interpreter's own end, which needs memory and time for what the libraries left.
    os._exit(list(Reason).index(main(*sys.argv[1:])))
