"""A cursor for statements that run again and again: the server plans each once, and the driver reads it once.

psycopg looks for the placeholders of a long statement each time, which took a tenth of the time of a busy process. Its
raw cursor takes PostgreSQL's own placeholders, so here each statement is translated once.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import RawCursor
from psycopg.types.numeric import Int8

PREPARED_AFTER = 5
"""How often a statement runs on a connection before the server keeps it."""
MAX_STATEMENTS = 512


class PreparedCursor(RawCursor[Any]):
    """Takes Django's placeholders, as other cursors do, and numbers them. Integers are sent as bigint."""

    def execute(self, query: str, params: Sequence[Any] | None = None, **options: Any) -> PreparedCursor:  # type: ignore[override]
        if params is None:
            return super().execute(query, None, **options)
        return super().execute(numbered(query), typed(params), **options)

    def executemany(self, query: str, params_seq: Iterable[Sequence[Any]], **options: Any) -> None:  # type: ignore[override]
        super().executemany(numbered(query), map(typed, params_seq), **options)


@functools.lru_cache(MAX_STATEMENTS)
def numbered(statement: str) -> str:
    """Return a statement with `$1`, `$2` and so on in place of `%s`, and `%` in place of `%%`."""
    numbers = itertools.count(1)
    return re.sub("%[s%]", lambda found: f"${next(numbers)}" if found[0] == "%s" else "%", statement)


def typed(params: Sequence[Any]) -> list[Any]:
    """Return parameters whose types do not depend on how large their values are: each combination is prepared anew."""
    return [Int8(value) if type(value) is int else value for value in params]
