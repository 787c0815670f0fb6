"""Registers the owners of this app's rows, and deletes the rows together with an account."""

from __future__ import annotations

import time
import uuid
from typing import Any

from django.db import transaction
from django.dispatch import receiver

from accounts.erasing import HOLDINGS
from accounts.erasure import anonymize_admin_log
from accounts.personal_data import register
from accounts.signals import account_anonymizing, account_emptying
from conversations.models import AccessLogEntry, Conversation, ConversationTag, Message, MessagePart, StoredUsage, Todo
from conversations.services import delete_conversation, shorten

SLICE = 20

register(Conversation, owner="owner")
register(ConversationTag, owner="owner")
register(Message, owner="conversation__owner")
register(MessagePart, owner="message__conversation__owner")
register(Todo, owner="owner")
register(AccessLogEntry, owner="owner_id")
register(StoredUsage, owner="owner_id")


HOLDINGS.append(lambda user_id: Conversation.objects.filter(owner=user_id).count())


@receiver(account_anonymizing)
def anonymize_log(sender: Any, user_id: uuid.UUID, **kwargs: Any) -> None:
    mine = Conversation.objects.filter(owner=user_id)
    for rows in (mine, Message.objects.filter(conversation__owner=user_id), Todo.objects.filter(owner=user_id)):
        anonymize_admin_log("conversations", rows.values_list("pk", flat=True))


@receiver(account_emptying)
def delete_conversations(sender: Any, user_id: uuid.UUID, until: float, **kwargs: Any) -> bool:
    """Delete conversations one by one, because signals announce each of them; a few per transaction."""
    mine = Conversation.objects.filter(owner=user_id)
    while page := list(mine.only("id")[:SLICE]):
        for conversation in page:
            shorten(conversation.pk)
        with transaction.atomic():
            for conversation in page:
                delete_conversation(conversation=conversation)
        if time.monotonic() > until:
            return True
    return False
