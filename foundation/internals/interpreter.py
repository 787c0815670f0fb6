"""Settings of the interpreter: how threads take turns, and which objects the garbage collector walks.

Both apply to the whole process. With the shorter interval a commit of eight statements beside a busy event loop took 7
ms instead of 44 (`python -m benchmarks.internals --only switch-interval`). With loaded objects excluded from garbage
collection, the longest gap between the frames of 500 streams was 160 ms instead of 350 (benchmarks/README.md, "The
hooks").
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Final

SWITCH_SECONDS: Final = 0.0005
THRESHOLDS: Final = (2_000, 10, 20)


def shorten_switch_interval() -> None:
    """Give the interpreter lock to a waiting thread after half a millisecond.

    The journal's thread releases the lock at every statement; by default it would wait 5 ms to get it back.
    """
    sys.setswitchinterval(SWITCH_SECONDS)


def freeze_loaded_objects() -> None:
    """Exclude all objects that exist now from garbage collection, and make it run less often for the others.

    They stay loaded anyway, and each walk over them would stop every stream for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


@contextlib.contextmanager
def loading_permanently() -> Iterator[None]:
    """Permanently exclude the objects that are made in the block, and stay, from garbage collection.

    A search model has some hundred thousand of them. Each walk would stop every stream for up to a quarter of a second.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()
