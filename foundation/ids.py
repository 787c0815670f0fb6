"""Ids that sort by time: UUIDs of version 7."""

from __future__ import annotations

import datetime as dt
import uuid

import uuid_utils


def uuid7() -> uuid.UUID:
    """Return a new id that sorts by time."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def first_id_of(moment: dt.datetime) -> uuid.UUID:
    """Return the smallest id made at `moment`: ids sort by time, so they select a time range without another index."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)
