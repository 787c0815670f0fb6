"""Deletes what is past its retention time: conversations of guests and of accounts, and old access log entries."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from conversations.models import (
    AccessLogEntry,
    AccessLogEntryQuerySet,
    Conversation,
    ConversationQuerySet,
    ConversationTag,
)
from conversations.services import delete_conversation, shorten

BATCH = 100


def expired() -> Iterator[ConversationQuerySet]:
    """Yield the conversations that have expired, by each RETENTION_* setting."""
    every = Conversation.objects
    if settings.RETENTION_GUEST_EMPTY_HOURS:
        yield every.of_guests().empty().untouched_since(_ago(hours=settings.RETENTION_GUEST_EMPTY_HOURS))
    if settings.RETENTION_GUEST_DAYS:
        yield every.of_guests().untouched_since(_ago(days=settings.RETENTION_GUEST_DAYS))
    if settings.RETENTION_DAYS:
        yield every.of_accounts().untouched_since(_ago(days=settings.RETENTION_DAYS))


def prune_history() -> int:
    """Delete what is past its time; returns how many conversations."""
    ConversationTag.objects.strays().delete()
    return sum(_delete(conversations) for conversations in expired())


def count_expired() -> int:
    """Return how many conversations `prune_history` would delete."""
    return len({pk for conversations in expired() for pk in conversations.values_list("pk", flat=True)})


def expired_access_log() -> AccessLogEntryQuerySet:
    """Return the access log entries past their time; the database refuses to delete any younger ones."""
    days = settings.RETENTION_ACCESS_LOG_DAYS
    return AccessLogEntry.objects.filter(created_at__lt=_ago(days=days)) if days else AccessLogEntry.objects.none()


def prune_access_log() -> int:
    """Delete the access log entries past their time; returns how many."""
    return expired_access_log().delete()[0]


def _delete(conversations: ConversationQuerySet) -> int:
    deleted = 0
    # A few at a time, each in its own transaction: other writers never wait for long.
    while batch := list(conversations.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        before = deleted
        for pk in batch:
            shorten(pk, conversations)
            with transaction.atomic():
                # Checked again under the lock: the owner may have continued it meanwhile.
                Conversation.objects.select_for_update().filter(pk=pk).first()
                if conversation := conversations.filter(pk=pk).first():
                    delete_conversation(conversation=conversation)
                    deleted += 1
        if deleted == before:
            break  # all of them have been used meanwhile
    return deleted


def _ago(**time: float) -> dt.datetime:
    return timezone.now() - dt.timedelta(**time)
