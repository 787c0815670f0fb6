"""Sets how many heaps glibc's allocator has for the threads of this process.

`mallopt` is called in whatever C library the interpreter runs on. With it the service grew by 25 to 31 MB under the
hostile corpus (`tests/test_hostile_inputs.py`), without it by 45 (benchmarks/README.md, "The hooks").
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Final

M_ARENA_MAX: Final = -8  # the number in malloc.h
MAX_ARENAS: Final = 2


def share_heaps() -> None:
    """Let all threads share two heaps: by default each has its own, and others cannot reuse the memory it frees."""
    if "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):  # a different C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, MAX_ARENAS)
