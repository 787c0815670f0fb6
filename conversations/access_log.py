"""The access log: checks who of the staff may read content, and logs every access for the content's owner to read.

Every way for staff to read message bodies (transcript, search, export) writes the log before it shows them.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone

from accounts.models import User
from conversations.models import AccessLogEntry, Conversation
from foundation.ids import first_id_of

PERMISSION = "conversations.read_content"
MIN_REASON_CHARS = 8
MAX_REASON_CHARS = 300


class NotReadable(Exception):
    """Content access is turned off, or this reader lacks the permission."""


class ReasonNeeded(Exception):
    """The reason is missing or too short; the error's text can be shown."""


def may_read_content(reader: Any) -> bool:
    """Tell whether `reader`, a signed-in user, may read content at all."""
    return bool(settings.STAFF_CONTENT_ACCESS and reader.is_active and reader.is_staff and reader.has_perm(PERMISSION))


def checked_reason(reason: str) -> str:
    """Return a reason as it will be stored; raises ReasonNeeded."""
    reason = " ".join(reason.replace("\x00", "").split())
    if len(reason) < MIN_REASON_CHARS:
        raise ReasonNeeded(f"Give a reason of at least {MIN_REASON_CHARS} characters: the owner will read it.")
    if len(reason) > MAX_REASON_CHARS:
        raise ReasonNeeded(f"Give a reason of at most {MAX_REASON_CHARS} characters.")
    return reason


@transaction.atomic
def record_accesses(
    *, reader: Any, kind: str, reason: str, conversations: Iterable[tuple[uuid.UUID | None, uuid.UUID]]
) -> None:
    """Record that `reader` is about to see `conversations`, pairs of ids: conversation and owner. Show them afterwards.

    A key of the owner has no conversation, and a search without results, which is recorded too, not even an owner.
    Raises NotReadable and ReasonNeeded.
    """
    if not may_read_content(reader):
        raise NotReadable
    reason = checked_reason(reason)
    seen: list[tuple[uuid.UUID | None, uuid.UUID | None]]
    seen = [*dict.fromkeys(conversations)] or [(None, None)]
    AccessLogEntry.objects.bulk_create(
        AccessLogEntry(
            kind=kind,
            reader_id=reader.pk,
            reader_name=reader.get_username(),
            owner_id=owner_id,
            conversation_id=conversation_id,
            reason=reason,
        )
        for conversation_id, owner_id in seen
    )


def record_access(*, reader: Any, kind: str, reason: str, conversation: Conversation) -> None:
    """Record that `reader` is about to see one conversation; see `record_accesses`."""
    record_accesses(reader=reader, kind=kind, reason=reason, conversations=[(conversation.pk, conversation.owner_id)])


def has_opened(*, reader: Any, conversation: Conversation) -> bool:
    """Tell whether `reader` may see what belongs to a transcript: it was opened, and so recorded, a short time ago."""
    if not may_read_content(reader):
        return False
    since = timezone.now() - dt.timedelta(seconds=settings.STAFF_REASON_SECONDS)
    entries = AccessLogEntry.objects.filter(owner_id=conversation.owner_id, pk__gte=first_id_of(since))
    kind = AccessLogEntry.Kind.TRANSCRIPT
    return entries.filter(kind=kind, reader_id=reader.pk, conversation_id=conversation.pk).exists()


@receiver(post_delete, sender=User, dispatch_uid="conversations.access_log.erase_reasons")
def erase_reasons(sender: type[User], instance: User, **kwargs: Any) -> None:
    """Keep only pseudonymous ids in the entries about a deleted account: a reason may reveal who it was."""
    AccessLogEntry.objects.filter(owner_id=instance.pk).exclude(reason="").update(reason="")
