"""Claims on pending messages, which expire by the database's clock, so that two workers never do the same work."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import connection

from foundation.database import database_clock
from search.models import PendingMessage
from search.tables import TABLES


def anything_to_claim(stage: int) -> bool:
    """Tell whether unclaimed messages of a stage are pending, without taking a lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT 1 FROM {TABLES.pending} WHERE {_unclaimed()} LIMIT 1",  # noqa: S608
            [stage],
        )
        return cursor.fetchone() is not None


def claim(stage: int, limit: int, seconds: float) -> dict[uuid.UUID, int]:
    """Claim up to `limit` messages of a stage, newest first; returns their versions by id."""
    skip = " FOR UPDATE SKIP LOCKED" if connection.features.has_select_for_update_skip_locked else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH picked AS MATERIALIZED (SELECT message_id AS id FROM {TABLES.pending} "  # noqa: S608
            f"WHERE {_unclaimed()} ORDER BY message_id DESC LIMIT %s{skip}) "
            f"UPDATE {TABLES.pending} SET claimed_until = {database_clock()} + %s FROM picked "
            "WHERE message_id = picked.id RETURNING message_id, version",
            [stage, limit, seconds],
        )
        return {_id(pk): version for pk, version in cursor.fetchall()}


def release(ids: list[uuid.UUID]) -> None:
    """Release claimed messages that were not indexed."""
    PendingMessage.objects.filter(message_id__in=ids).update(claimed_until=0)


def _unclaimed() -> str:
    """Return the condition for unclaimed messages; its placeholder is the stage."""
    return f"stage = %s AND claimed_until < {database_clock()}"


def _id(value: Any) -> uuid.UUID:
    return uuid.UUID(value) if isinstance(value, str) else value
