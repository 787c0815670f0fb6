"""What must be true of the log of looks, or it can be tampered with unseen."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections

from conversations.append_only import KEPT_DAYS
from conversations.models import Look

TRIGGER = "conversations_look_append_only"


@register(Tags.security, deploy=True)
def content_access_is_a_decision(**kwargs: Any) -> list[CheckMessage]:
    """Complain in production when nobody decided about it: the default is for a newcomer's own machine."""
    if settings.STAFF_CONTENT_ACCESS and settings.ANONYMOUS == "on":
        return [
            Warning(
                "Staff can read what guests say, and guests cannot see who looked.",
                hint="Set STAFF_CONTENT_ACCESS=false, or ANONYMOUS to 'auto' or 'off'.",
                id="conversations.W001",
            )
        ]
    return []


@register(Tags.security)
def looks_are_kept_for_a_year(**kwargs: Any) -> list[CheckMessage]:
    """Refuse to promise less than the database lets go of."""
    if settings.RETENTION_LOOK_DAYS and settings.RETENTION_LOOK_DAYS <= KEPT_DAYS:
        return [
            Error(
                f"RETENTION_LOOK_DAYS is {settings.RETENTION_LOOK_DAYS:g}: the log of looks is kept for a year.",
                hint=f"Set it to {KEPT_DAYS + 1} or more, or to 0 to keep it for ever.",
                id="conversations.E002",
            )
        ]
    return []


@register(Tags.database)
def looks_are_append_only(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Fail `migrate` and `check --database` when the trigger behind the log is gone (a rebuilt table loses it)."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        if Look._meta.db_table not in connection.introspection.table_names():
            continue
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname = %s AND tgenabled <> 'D'", [TRIGGER])
                wanted = 1
            else:
                cursor.execute(
                    "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE %s", [f"{TRIGGER}%"]
                )
                wanted = 2
            if cursor.fetchone()[0] < wanted:
                found.append(
                    Error(
                        f"The log of looks in database {alias!r} can be changed: its trigger is missing.",
                        hint="Run the SQL of conversations/append_only.py again.",
                        id="conversations.E001",
                    )
                )
    return found
