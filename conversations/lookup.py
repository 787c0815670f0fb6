"""Finds the object a path names among those the caller may use: somebody else's id is treated like an unknown one."""

from __future__ import annotations

import re

from accounts.callers import Principal
from accounts.guests import as_id
from conversations.branches import branch
from conversations.models import Conversation, Message

POSITION = re.compile(r"[1-9][0-9]{0,8}\Z")


def conversation_of(principal: Principal, text: str) -> Conversation:
    """Return the conversation with this id; raises Conversation.DoesNotExist."""
    pk = as_id(text)
    if pk is None:
        raise Conversation.DoesNotExist
    return Conversation.objects.visible_to(principal).get(pk=pk)


def message_at(conversation: Conversation, text: str) -> Message:
    """Return the message at this position, on any branch; raises Message.DoesNotExist."""
    if POSITION.match(text) is None:
        raise Message.DoesNotExist
    return Message.objects.of(conversation.pk).get(position=int(text))


def messages_in(conversation: Conversation) -> list[Message]:
    """Return the messages of the shown branch, oldest first, except empty answers that are not complete."""
    messages = branch(conversation.pk, conversation.head_id)
    return [message for message in messages if message.empty_reason or not message.says_nothing]
