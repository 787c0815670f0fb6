"""Every write to conversations and messages: keyword-only, in a transaction, with signals after the commit."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from accounts.models import User
from conversations import chat_wire, digests, quota
from conversations.embedded_files import note_files_of
from conversations.file_parts import attached_parts, extras_with
from conversations.models import Conversation, ConversationQuerySet, Message, MessagePart
from conversations.signals import (
    conversation_deleted,
    conversations_created,
    message_deleted,
    messages_changed,
    messages_deleting,
)
from conversations.tags import replace_tags

DELETE_SLICE = 100


class LimitReached(Exception):
    """The owner or the conversation already holds as much as the settings allow."""


class StorageFull(LimitReached):
    """The owner holds as many messages, or bytes, as the settings allow; the message names the setting."""


class Busy(Exception):
    """The message is still being written."""


@transaction.atomic
def start_conversation(
    *,
    owner_id: uuid.UUID,
    title: str = "",
    title_is_provisional: bool | None = None,
    end_user: str = "",
    metadata: Mapping[str, Any] | None = None,
    recall: Mapping[str, Any] | None = None,
    generation: Mapping[str, Any] | None = None,
) -> Conversation:
    """Create an empty conversation; raises LimitReached. By default a model may title one that has no title."""
    _check_quota(owner_id)
    limit = settings.LIMIT_CONVERSATIONS_PER_USER
    sharing = User.objects.sharing_limits(owner_id)
    if limit and Conversation.objects.opened_by_hand().filter(owner__in=sharing).count() >= limit:
        raise LimitReached(f"An account holds at most {limit} conversations (LIMIT_CONVERSATIONS_PER_USER).")
    conversation = Conversation.objects.create(
        owner_id=owner_id,
        title=title,
        title_is_provisional=not title if title_is_provisional is None else title_is_provisional,
        end_user=end_user,
        metadata=dict(metadata or {}),
        recall=dict(recall) if recall else None,
        generation=dict(generation) if generation else None,
    )
    conversations_created.send(Conversation, conversation_ids=[conversation.pk])
    return conversation


@transaction.atomic
def append_message(
    *,
    conversation: Conversation,
    role: str,
    content: str,
    parent_id: uuid.UUID | None = None,
    extras: Mapping[str, Any] | None = None,
    author: str = "",
    model: str = "",
) -> Message:
    """Add a message after the shown branch, or after `parent_id`, and show the branch it is on.

    `extras` are fields that it has on the chat wire beyond role, text and name. Raises LimitReached, and
    Message.DoesNotExist for a parent that is not in this conversation.
    """
    locked = Conversation.objects.select_for_update().get(pk=conversation.pk)
    return _add(
        locked,
        parent_id=parent_id or locked.head_id,
        role=role,
        content=content,
        extras=extras,
        author=author,
        model=model,
    )


@transaction.atomic
def edit_message(*, message: Message, content: str, attached: Sequence[Any] | None = None) -> Message:
    """Add a sibling of `message` with other text, and show its branch.

    `attached` are the parts of the chat wire after the text; if None, those that `message` has.
    """
    locked = Conversation.objects.select_for_update().get(pk=message.conversation_id)
    parts = attached_parts(message.as_wire().get("content")) if attached is None else attached
    return _add(
        locked,
        parent_id=message.parent_id,
        role=message.role,
        content=content,
        author=message.author,
        extras=extras_with(content, parts),
    )


@transaction.atomic
def show_branch(*, conversation: Conversation, leaf: Message) -> None:
    Conversation.objects.filter(pk=conversation.pk).update(head=leaf, updated_at=timezone.now())
    conversation.head = leaf


@transaction.atomic
def update_conversation(*, conversation: Conversation, **changes: Any) -> Conversation:
    """Change title, end_user, metadata, archived_at, pinned_at, recall, generation, or tags that `read_tags` returned.

    A pin or tags alone leave `updated_at` as it is. Raises LimitReached for more metadata, instructions or tags than
    fit.
    """
    for name in changes:
        if name not in {"title", "end_user", "metadata", "archived_at", "pinned_at", "recall", "generation", "tags"}:
            raise TypeError(f"update_conversation() does not change {name}")
    # Otherwise what is no longer pinned would be the newest of the list.
    is_quiet = bool(changes) and changes.keys() <= {"pinned_at", "tags"}
    tags = changes.pop("tags", None)
    if changes.get("metadata") or changes.get("generation") or tags:
        _check_quota(conversation.owner_id)
    if "title" in changes:
        changes["title_is_provisional"] = False
    for name, value in changes.items():
        setattr(conversation, name, value)
    if not is_quiet:
        changes["updated_at"] = conversation.updated_at = timezone.now()
    conversation.save(update_fields=list(changes))
    if tags is not None:
        replace_tags(conversation, tags)
    return conversation


@transaction.atomic
def replace_provisional_title(*, conversation_id: uuid.UUID, before: str, title: str) -> bool:
    """Give a conversation a title that a model wrote, unless somebody gave it one; returns whether it was stored.

    It is no change of the conversation: the list stays in its order.
    """
    # `before`, too: a process of the version before does not know that a rename ends the provisional title.
    provisional = Conversation.objects.filter(pk=conversation_id, title_is_provisional=True, title=before)
    return provisional.update(title=title, title_is_provisional=False) == 1


@transaction.atomic
def delete_message(*, message: Message) -> None:
    """Delete one message; its children move up to its parent. Raises Busy while it is being written."""
    conversation = Conversation.objects.select_for_update().get(pk=message.conversation_id)
    fresh = Message.objects.filter(pk=message.pk).first()
    if fresh is None:
        return
    if fresh.status == Message.Status.IN_PROGRESS:
        raise Busy("This message is still being written; stop it first.")
    Message.objects.filter(parent=fresh).update(parent_id=fresh.parent_id)
    if conversation.head_id == fresh.pk:
        child = Message.objects.filter(conversation=conversation, parent_id=fresh.parent_id).exclude(pk=fresh.pk)
        newest = child.order_by("-position").values_list("id", flat=True).first()
        conversation.head_id = fresh.parent_id or newest
    conversation.updated_at = timezone.now()
    conversation.save(update_fields=["head", "updated_at"])
    delete_messages(Message.objects.filter(pk=fresh.pk))
    announce_messages(conversation.pk)
    transaction.on_commit(lambda: message_deleted.send(sender=Message, conversation_id=conversation.pk))


def reset_conversation(*, conversation: Conversation) -> None:
    """Delete all messages and keep the conversation. Answers in progress are dropped with them."""
    shorten(conversation.pk)
    _reset(conversation)


@transaction.atomic
def _reset(conversation: Conversation) -> None:
    locked = Conversation.objects.select_for_update().get(pk=conversation.pk)
    locked.head = None
    locked.next_position = 1
    locked.updated_at = timezone.now()
    locked.save(update_fields=["head", "next_position", "updated_at"])
    messages_deleting.send(sender=Message, conversation_id=locked.pk)
    delete_messages(Message.objects.of(locked.pk))
    announce_messages(locked.pk)


def delete_conversation(*, conversation: Conversation) -> None:
    """Delete a conversation and everything in it."""
    shorten(conversation.pk)
    _delete(conversation)


def shorten(conversation_id: uuid.UUID, condition: ConversationQuerySet | None = None) -> None:
    """Delete the newest messages of a long conversation, a few per transaction, until few are left.

    Thousands at once, or slices without a pause, would keep everybody else from writing on SQLite. Stops when the
    conversation no longer matches `condition`. A remaining message never loses its parent.
    """
    mine = (Conversation.objects.all() if condition is None else condition).filter(pk=conversation_id)
    newest = Message.objects.of(conversation_id).order_by("-position").values_list("pk", flat=True)
    while newest[DELETE_SLICE:].exists():
        began = time.monotonic()
        with transaction.atomic():
            Conversation.objects.select_for_update().filter(pk=conversation_id).first()
            if not mine.exists():
                return
            messages_deleting.send(sender=Message, conversation_id=conversation_id)
            Conversation.objects.filter(pk=conversation_id).update(head=None)
            delete_messages(Message.objects.filter(pk__in=list(newest[:DELETE_SLICE])))
            announce_messages(conversation_id)
        if connection.vendor == "sqlite":
            time.sleep(time.monotonic() - began)


@transaction.atomic
def _delete(conversation: Conversation) -> None:
    pk = conversation.pk
    Conversation.objects.filter(pk=pk).update(head=None)
    messages_deleting.send(sender=Message, conversation_id=pk)
    note_files_of(Message.objects.of(pk))
    Conversation.objects.filter(pk=pk).delete()
    transaction.on_commit(lambda: conversation_deleted.send(sender=Conversation, conversation_id=pk))


def delete_messages(messages: QuerySet[Message]) -> None:
    """Delete rows of messages, and then the files that came in them and that no other message needs."""
    note_files_of(messages)
    messages.delete()


def _add(
    conversation: Conversation,
    *,
    parent_id: uuid.UUID | None,
    role: str,
    content: str,
    author: str,
    extras: Mapping[str, Any] | None = None,
    model: str = "",
) -> Message:
    limit = settings.LIMIT_MESSAGES_PER_CONVERSATION
    if limit and conversation.next_position > limit:
        raise LimitReached(f"A conversation holds at most {limit} messages (LIMIT_MESSAGES_PER_CONVERSATION).")
    _check_quota(conversation.owner_id, messages=1)
    # Only from this conversation: a message never follows one of another owner.
    parent = Message.objects.of(conversation.pk).get(pk=parent_id) if parent_id else None
    message = Message(
        conversation=conversation,
        parent=parent,
        position=conversation.next_position,
        role=role,
        author=author,
        model=model,
    )
    parts = message.set_content(content, extras)
    before = digests.root(conversation.owner_id) if parent is None else parent.digest
    wire = chat_wire.with_extras(role, content, author, extras)
    message.digest = digests.follow(before, wire) if before else ""
    message.save(force_insert=True)
    MessagePart.objects.bulk_create(parts)
    Conversation.objects.filter(pk=conversation.pk).update(
        head=message, next_position=F("next_position") + 1, updated_at=timezone.now()
    )
    conversation.head_id = message.pk
    conversation.next_position += 1
    announce_messages(conversation.pk)
    return message


def _check_quota(owner_id: uuid.UUID, messages: int = 0) -> None:
    if quota.is_limited() and (reason := quota.reason_against(quota.held(owner_id), messages=messages)):
        raise StorageFull(reason)


def announce_messages(conversation_id: uuid.UUID) -> None:
    transaction.on_commit(lambda: messages_changed.send(sender=Message, conversation_id=conversation_id))
