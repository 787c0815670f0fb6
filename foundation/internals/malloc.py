"""Sets how many heaps glibc's allocator has for the threads of this process, and what it keeps in them.

`mallopt` is called in whatever C library the interpreter runs on. With it the service grew by 25 to 31 MB under the
hostile corpus (`tests/test_hostile_inputs.py`), without it by 45 (benchmarks/README.md, "The hooks"). With bodies of
4 MiB it grew by 34 MB, and by 100 while large blocks were taken from the heaps.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Final

# The numbers in malloc.h.
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
MAX_ARENAS: Final = 2
LARGE_BYTES: Final = 1 << 20


def share_heaps() -> None:
    """Let all threads share two heaps: by default each has its own, and others cannot reuse the memory it frees.

    Blocks of LARGE_BYTES go back to the system when they are freed. By default the first one that is freed raises that
    limit, up to 32 MiB, and later ones leave holes in the heaps.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):  # a different C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(M_ARENA_MAX, MAX_ARENAS)
            mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
