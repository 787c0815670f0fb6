"""Deletes answers together with what was said only for them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from conversations.models import Conversation, Message
from conversations.services import DELETE_SLICE, Busy, announce_messages, delete_conversation, delete_messages
from conversations.signals import message_deleted


def delete_answers(*, answers: Sequence[Message]) -> None:
    """Delete the answers to one question, and the messages before them up to one that leads elsewhere, or an answer.

    What continues from a deleted message moves up to its parent. A conversation without messages goes, too. Raises
    Busy while an answer is being written.
    """
    conversation_id = answers[0].conversation_id
    above = _delete(conversation_id, [answer.pk for answer in answers])
    while above is not None:  # a few at a time, so that others can write
        above = _delete(conversation_id, [], above)


@transaction.atomic
def _delete(
    conversation_id: uuid.UUID, answer_ids: list[uuid.UUID], above: uuid.UUID | None = None
) -> uuid.UUID | None:
    """Delete the answers and a slice of the messages `above` them; returns where to go on, None at the end."""
    conversation = Conversation.objects.select_for_update().filter(pk=conversation_id).first()
    if conversation is None:
        return None
    messages = Message.objects.of(conversation_id)
    answers = messages.filter(pk__in=answer_ids)
    if answers.filter(status=Message.Status.IN_PROGRESS).exists():
        raise Busy("This answer is still being written; stop it first.")
    if answer_ids:
        above = answers.values_list("parent_id", flat=True).first()
        messages.filter(parent__in=answer_ids).exclude(pk__in=answer_ids).update(parent=above)
    going, below, is_over = list(answer_ids), list(answer_ids), True
    while above is not None:
        message = messages.filter(pk=above).first()
        if message is None or message.is_answer or messages.filter(parent=above).exclude(pk__in=below).exists():
            break
        if len(going) >= DELETE_SLICE:
            is_over = False
            break
        going.append(above)
        below, above = [above], message.parent_id
    if conversation.head_id in going:
        conversation.head_id = _leaf_below(conversation_id, above, going)
    conversation.updated_at = timezone.now()
    conversation.save(update_fields=["head", "updated_at"])
    delete_messages(messages.filter(pk__in=going))
    announce_messages(conversation_id)
    transaction.on_commit(lambda: message_deleted.send(sender=Message, conversation_id=conversation_id))
    if not messages.exists():
        delete_conversation(conversation=conversation)
    return None if is_over else above


def _leaf_below(conversation_id: uuid.UUID, top: uuid.UUID | None, without: Sequence[uuid.UUID]) -> uuid.UUID | None:
    """Return the end of the newest branch below `top`, or of the whole tree; `top` itself if nothing is below it."""
    newest: dict[uuid.UUID | None, uuid.UUID] = {}
    links = Message.objects.of(conversation_id).exclude(pk__in=without).order_by("position")
    for pk, parent_id in links.values_list("pk", "parent_id"):
        newest[parent_id] = pk
    leaf = top
    for _ in range(len(newest)):
        if leaf not in newest:
            break
        leaf = newest[leaf]
    return leaf
