"""Shows how far a backup is, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from backups.manifest import Advance

LOG_SECONDS = 5.0


class Progress:
    """Bars on a terminal, and a line every few seconds elsewhere, unless it is `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    @contextmanager
    def part(self, what: str, total: int = 0) -> Iterator[Advance]:
        """Show a part of `total` bytes, 0 if nobody knows; yields what is called with the bytes that are done."""
        if not total:
            if not self._quiet:
                sys.stderr.write(f"{what}: …\n")
            yield lambda size: None
            return
        is_terminal = sys.stderr.isatty()
        with tqdm(
            total=total,
            desc=what,
            unit="B",
            unit_scale=True,
            file=sys.stderr,
            disable=self._quiet,
            mininterval=0.1 if is_terminal else LOG_SECONDS,
            dynamic_ncols=is_terminal,
        ) as bar:
            yield bar.update
