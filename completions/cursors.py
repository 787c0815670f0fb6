"""A reader's position in a run: `<run>.<seq>.<end>`. Parsed strictly, before any header is sent."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

PATTERN = re.compile(r"([0-9a-f]{32})\.(\d{1,9})\.(\d{1,9})\Z", re.ASCII)


class BadCursor(ValueError):
    """The text is not one of our cursors."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The reader has all chunks up to `seq`; together they are `end` code points of text."""

    run_id: uuid.UUID
    seq: int = 0
    end: int = 0

    def __str__(self) -> str:
        return f"{self.run_id.hex}.{self.seq}.{self.end}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor; raises BadCursor."""
        match = PATTERN.match(text)
        if match is None:
            raise BadCursor("This is not a cursor of this service.")
        return cls(run_id=uuid.UUID(match[1]), seq=int(match[2]), end=int(match[3]))
