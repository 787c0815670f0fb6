"""Who does which part of the work: claimed for a time by the database's clock, so that nothing is done twice."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import connection

from accounts.database import database_clock
from search.models import PendingMessage


def anything_to_claim(stage: int) -> bool:
    """Tell whether messages of a stage wait that nobody is at, without taking a lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT 1 FROM search_pendingmessage WHERE {_waiting()} LIMIT 1",  # noqa: S608
            [stage],
        )
        return cursor.fetchone() is not None


def claim(stage: int, most: int, seconds: float) -> dict[uuid.UUID, int]:
    """Claim at most so many messages of a stage, newest first; returns their versions by id."""
    skip = " FOR UPDATE SKIP LOCKED" if connection.features.has_select_for_update_skip_locked else ""
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH picked AS MATERIALIZED (SELECT message_id AS id FROM search_pendingmessage "  # noqa: S608
            f"WHERE {_waiting()} ORDER BY message_id DESC LIMIT %s{skip}) "
            f"UPDATE search_pendingmessage SET claimed_until = {database_clock()} + %s FROM picked "
            "WHERE message_id = picked.id RETURNING message_id, version",
            [stage, most, seconds],
        )
        return {_id(pk): version for pk, version in cursor.fetchall()}


def give_back(ids: list[uuid.UUID]) -> None:
    """Let others have what was claimed and not done."""
    PendingMessage.objects.filter(message_id__in=ids).update(claimed_until=0)


def _waiting() -> str:
    """Return the condition, with its stage to come, of what nobody is at."""
    return f"stage = %s AND claimed_until < {database_clock()}"


def _id(value: Any) -> uuid.UUID:
    return uuid.UUID(value) if isinstance(value, str) else value
