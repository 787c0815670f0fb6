"""Opaque cursors of lists by time: the time and the id of the last row of a page, and the kind of the list."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
import uuid

from completions.cursors import BadCursor

CURSOR = re.compile(r"([a-z]):(\d{1,17}):([0-9a-f]{32})\Z", re.ASCII)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


def time_cursor(kind: str, at: dt.datetime, pk: uuid.UUID) -> str:
    plain = f"{kind}:{(at - EPOCH) // MICROSECOND}:{pk.hex}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def read_time_cursor(kind: str, text: str) -> tuple[dt.datetime, uuid.UUID]:
    """Return the position that a cursor encodes; raises BadCursor."""
    try:
        plain = base64.urlsafe_b64decode(text[:200] + "=" * (-len(text) % 4)).decode("ascii")
        match = CURSOR.match(plain)
        if (
            match is None
            or match[1] != kind
            or time_cursor(kind, at := _time(match[2]), pk := uuid.UUID(match[3])) != text
        ):
            raise BadCursor("This is not a cursor of this list.")
    except (ValueError, OverflowError, binascii.Error) as error:
        raise BadCursor("This is not a cursor of this list.") from error
    return at, pk


def _time(micros: str) -> dt.datetime:
    return EPOCH + int(micros) * MICROSECOND
