"""System checks of the access log: nobody can tamper with it, and it is kept long enough."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections

from conversations.append_only import KEPT_DAYS, trigger_name
from conversations.models import AccessLogEntry


@register(Tags.security, deploy=True)
def content_access_is_a_decision(**kwargs: Any) -> list[CheckMessage]:
    """Warn in production if staff's access to content was not decided: its default suits a developer's own machine."""
    if settings.STAFF_CONTENT_ACCESS and settings.ANONYMOUS == "on":
        return [
            Warning(
                "Staff can read what guests write, but guests cannot see the access log.",
                hint="Set STAFF_CONTENT_ACCESS=false, or ANONYMOUS to 'auto' or 'off'.",
                id="conversations.W001",
            )
        ]
    return []


@register(Tags.security)
def access_log_is_kept_for_a_year(**kwargs: Any) -> list[CheckMessage]:
    """Refuse a retention time shorter than the age at which the database allows deletion."""
    if settings.RETENTION_ACCESS_LOG_DAYS and settings.RETENTION_ACCESS_LOG_DAYS <= KEPT_DAYS:
        return [
            Error(
                f"RETENTION_ACCESS_LOG_DAYS is {settings.RETENTION_ACCESS_LOG_DAYS:g}, but the access log must be kept "
                "for at least a year.",
                hint=f"Set it to {KEPT_DAYS + 1} or more, or to 0 to keep the log forever.",
                id="conversations.E002",
            )
        ]
    return []


@register(Tags.database)
def access_log_is_append_only(databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Fail `migrate` and `check --database` if the log's trigger is missing, which happens when a table is rebuilt."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        table = AccessLogEntry._meta.db_table
        trigger = trigger_name(table)
        if table not in connection.introspection.table_names():
            continue
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname = %s AND tgenabled <> 'D'", [trigger])
                wanted = 1
            else:
                cursor.execute(
                    "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE %s", [f"{trigger}%"]
                )
                wanted = 2
            if cursor.fetchone()[0] < wanted:
                found.append(
                    Error(
                        f"The access log in database {alias!r} can be changed: its trigger is missing.",
                        hint="Run the SQL of conversations/append_only.py again.",
                        id="conversations.E001",
                    )
                )
    return found
