"""Every read and write of feedback by its user. A message that the user may not see does not exist for them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from accounts.callers import Principal
from conversations.models import Conversation, Message
from conversations.services import Busy
from feedback.models import Feedback


class NotAnAnswer(Exception):
    """Feedback is about answers only: messages of the role assistant."""


@transaction.atomic
def set_feedback(*, principal: Principal, message_id: uuid.UUID, rating: str, comment: str = "") -> Feedback:
    """Store the caller's feedback on an answer in place of any that they gave before.

    Raises Message.DoesNotExist or Conversation.DoesNotExist for what the caller may not see, NotAnAnswer, and Busy
    while the answer is being written.
    """
    mine = Message.objects.visible_to(principal).defer("content", "usage")
    # The lock of everything that deletes messages, which would otherwise not know of the new row.
    Conversation.objects.select_for_update().get(pk=mine.get(pk=message_id).conversation_id)
    message = mine.get(pk=message_id)
    if message.role != Message.Role.ASSISTANT:
        raise NotAnAnswer("Only an answer can be rated.")
    if message.status == Message.Status.IN_PROGRESS:
        raise Busy("This answer is still being written.")
    row = Feedback.objects.filter(message=message, user=principal.user_id).first()
    if row is None:
        row = Feedback(message=message, user_id=principal.user_id, model=message.model, upstream=message.upstream)
    if (row.rating, row.comment) != (rating, comment):
        row.rating, row.comment = rating, comment
        row.updated_at, row.reviewed_at = timezone.now(), None
        row.save()
    return row


@transaction.atomic
def delete_feedback(*, principal: Principal, message_id: uuid.UUID) -> None:
    """Take the caller's feedback on a message back, if there is any; raises Message.DoesNotExist."""
    message = Message.objects.visible_to(principal).only("id").get(pk=message_id)
    Feedback.objects.filter(message=message, user=principal.user_id).delete()


def feedback_on(principal: Principal, messages: Iterable[Message]) -> dict[uuid.UUID, Feedback]:
    """Return the caller's own feedback by the message's id: by one query, or none where there are no answers."""
    answers = [message.pk for message in messages if message.role == Message.Role.ASSISTANT]
    if not answers:
        return {}
    rows = Feedback.objects.filter(message__in=answers, user=principal.user_id)
    return {row.message_id: row for row in rows}


@transaction.atomic
def mark_reviewed(*, feedback: Iterable[Feedback], reviewed: bool) -> None:
    """Note that staff have reviewed feedback, or put it back into the queue."""
    moment = timezone.now() if reviewed else None
    Feedback.objects.filter(pk__in=[row.pk for row in feedback]).update(reviewed_at=moment)
