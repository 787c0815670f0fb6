"""Reading leaves a trace: who of the staff may see what was said, and the log they cannot edit, which its owner reads.

Every way for staff to message bodies (transcript, search, export) records first and shows afterwards.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from accounts.models import User
from conversations.models import Conversation, Look

PERMISSION = "conversations.read_content"
SHORTEST_REASON = 8
LONGEST_REASON = 300


class NotReadable(Exception):
    """Content access is turned off, or this reader lacks the permission."""


class ReasonNeeded(Exception):
    """A reason is missing, or says too little; the text can be shown."""


def may_read_content(reader: Any) -> bool:
    """Tell whether `reader`, a signed-in user, may see what people said at all."""
    return bool(settings.STAFF_CONTENT_ACCESS and reader.is_active and reader.is_staff and reader.has_perm(PERMISSION))


def checked_reason(reason: str) -> str:
    """Return a reason as it will be stored; raises ReasonNeeded."""
    reason = " ".join(reason.replace("\x00", "").split())
    if len(reason) < SHORTEST_REASON:
        raise ReasonNeeded(f"Say why, in at least {SHORTEST_REASON} characters: the owner will read it.")
    if len(reason) > LONGEST_REASON:
        raise ReasonNeeded(f"Say why in at most {LONGEST_REASON} characters.")
    return reason


@transaction.atomic
def record_looks(*, reader: Any, kind: str, reason: str, conversations: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> None:
    """Record that `reader` is about to see `conversations`, pairs of their id and their owner's; then show them.

    A search that found nothing is recorded too, as a look at nobody. Raises NotReadable and ReasonNeeded.
    """
    if not may_read_content(reader):
        raise NotReadable
    reason = checked_reason(reason)
    seen: list[tuple[uuid.UUID | None, uuid.UUID | None]]
    seen = [*dict.fromkeys(conversations)] or [(None, None)]
    Look.objects.bulk_create(
        Look(
            kind=kind,
            reader_id=reader.pk,
            reader_name=reader.get_username(),
            owner_id=owner_id,
            conversation_id=conversation_id,
            reason=reason,
        )
        for conversation_id, owner_id in seen
    )


def record_look(*, reader: Any, kind: str, reason: str, conversation: Conversation) -> None:
    """The same for one conversation."""
    record_looks(reader=reader, kind=kind, reason=reason, conversations=[(conversation.pk, conversation.owner_id)])


@receiver(post_delete, sender=User, dispatch_uid="conversations.looks.forget_reasons")
def forget_reasons(sender: type[User], instance: User, **kwargs: Any) -> None:
    """Of looks at what an erased account owned only pseudonymous ids stay: a reason may tell who it was."""
    Look.objects.filter(owner_id=instance.pk).exclude(reason="").update(reason="")
