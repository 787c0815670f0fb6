"""Conversations and their messages: a tree by parent, of which one branch is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import User, uuid7

if TYPE_CHECKING:
    import uuid
    from datetime import datetime

    from accounts.principal import Principal


class ConversationQuerySet(models.QuerySet):
    def owned_by(self, principal: Principal) -> ConversationQuerySet:
        """Everything `principal` may use: its own; for guests whatever guests created."""
        if principal.is_guest:
            return self.of_guests()
        return self.filter(owner_id=principal.user_id)

    def newest_first(self) -> ConversationQuerySet:
        return self.order_by("-updated_at", "-id")

    def active(self) -> ConversationQuerySet:
        return self.filter(archived_at=None)

    def of_guests(self) -> ConversationQuerySet:
        return self.filter(owner__guest_made=True)

    def of_accounts(self) -> ConversationQuerySet:
        return self.filter(owner__guest_made=False)

    def untouched_since(self, moment: datetime) -> ConversationQuerySet:
        return self.filter(updated_at__lt=moment)

    def empty(self) -> ConversationQuerySet:
        return self.filter(head=None, messages=None)


class Conversation(models.Model):
    """One talk of one owner. `head` is the leaf of the branch that is shown; None before the first message."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=200, blank=True)
    end_user = models.CharField(max_length=200, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    head = models.ForeignKey("Message", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    next_position = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    archived_at = models.DateTimeField(null=True, blank=True)
    # What its answers are to be reminded of: {"limit", "mode"}; None is nothing.
    recall = models.JSONField(null=True, blank=True)
    # What it was called where it was imported from. Null and not empty: the constraint leaves those out.
    source_id = models.CharField(max_length=200, null=True, blank=True, editable=False)  # noqa: DJ001

    objects = ConversationQuerySet.as_manager()

    class Meta:
        constraints = [
            # Importing twice is importing once.
            models.UniqueConstraint(
                fields=["owner", "source_id"],
                condition=Q(source_id__isnull=False),
                name="conversation_source_unique",
            ),
        ]
        indexes = [
            # The list of one owner's conversations, newest first.
            models.Index(fields=["owner", "-updated_at", "-id"], name="conversation_owner_recent"),
            # Staff's list of everybody's, and their filters.
            models.Index(fields=["-updated_at", "-id"], name="conversation_recent"),
        ]
        permissions = [("read_content", "Can read what was said, giving a reason that the owner sees")]

    def __str__(self) -> str:
        # Not the title: it repeats what was asked, and names end up in logs, labels and lists of staff.
        return str(self.id)


class MessageQuerySet(models.QuerySet):
    def owned_by(self, principal: Principal) -> MessageQuerySet:
        if principal.is_guest:
            return self.filter(conversation__owner__guest_made=True)
        return self.filter(conversation__owner_id=principal.user_id)

    def of(self, conversation_id: uuid.UUID) -> MessageQuerySet:
        return self.filter(conversation_id=conversation_id)

    def oldest_first(self) -> MessageQuerySet:
        return self.order_by("position")

    def answers(self) -> MessageQuerySet:
        return self.filter(role=Message.Role.ASSISTANT)


class Message(models.Model):
    """One thing that was said. Editing and regenerating add siblings; nothing is overwritten.

    `parts` holds what a client sent or a model answered beyond plain text, as fields of the OpenAI
    wire message (`content` as a list, `tool_calls`, `refusal`, `name`, ...). `usage` is OpenAI's
    usage object; `upstream` names the server that gave an answer. `digest` is the chain digest of
    everything up to and including this message.
    """

    class Role(models.TextChoices):
        SYSTEM = "system"
        DEVELOPER = "developer"
        USER = "user"
        ASSISTANT = "assistant"
        TOOL = "tool"
        FUNCTION = "function"

    class Status(models.TextChoices):
        COMPLETE = "complete"
        IN_PROGRESS = "in_progress"
        INTERRUPTED = "interrupted"
        CANCELLED = "cancelled"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="children")
    position = models.PositiveIntegerField()
    role = models.CharField(max_length=12, choices=Role)
    content = models.TextField(blank=True)
    parts = models.JSONField(null=True, blank=True)
    author = models.CharField(max_length=200, blank=True)
    model = models.CharField(max_length=200, blank=True)
    upstream = models.CharField(max_length=100, blank=True, default="", db_default="")
    status = models.CharField(max_length=12, choices=Status, default=Status.COMPLETE)
    finish_reason = models.CharField(max_length=40, blank=True)
    usage = models.JSONField(null=True, blank=True)
    digest = models.CharField(max_length=43, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    source_id = models.CharField(max_length=200, null=True, blank=True, editable=False)  # noqa: DJ001

    objects = MessageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["conversation", "position"], name="message_position_unique"),
            models.UniqueConstraint(
                fields=["conversation", "source_id"],
                condition=Q(source_id__isnull=False),
                name="message_source_unique",
            ),
        ]
        indexes = [
            # Where a stateless call that resends its history hangs.
            models.Index(fields=["digest"], name="message_digest"),
            # Staff's filter by how an answer ended; the many that ended well cost nothing.
            models.Index(
                fields=["status", "conversation"],
                condition=models.Q(status__in=["failed", "interrupted", "cancelled"]),
                name="message_ended_badly",
            ),
            # Staff's filter by model, and the list of the models that there are.
            models.Index(fields=["model", "conversation"], condition=~models.Q(model=""), name="message_by_model"),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.position}"

    def as_wire(self) -> dict:
        """Return the message as the OpenAI wire shows it."""
        wire = {"role": self.role, "content": self.content}
        if self.author:
            wire["name"] = self.author
        return {**wire, **(self.parts or {})}


class TodoQuerySet(models.QuerySet):
    def owned_by(self, principal: Principal) -> TodoQuerySet:
        if principal.is_guest:
            return self.filter(owner__guest_made=True)
        return self.filter(owner_id=principal.user_id)

    def oldest_first(self) -> TodoQuerySet:
        return self.order_by("id")


class Todo(models.Model):
    """What a user means to follow up, perhaps about one conversation; it outlives that one."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="todos", db_index=False)
    conversation = models.ForeignKey(
        Conversation, null=True, blank=True, on_delete=models.SET_NULL, related_name="todos"
    )
    title = models.CharField(max_length=200)
    completed = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = TodoQuerySet.as_manager()

    class Meta:
        indexes = [
            # The list of one owner's to-dos, oldest first: ids sort by time.
            models.Index(fields=["owner", "id"], name="todo_owner_oldest"),
        ]

    def __str__(self) -> str:
        return self.title


class LookQuerySet(models.QuerySet):
    def owned_by(self, principal: Principal) -> LookQuerySet:
        """Looks at what `principal` owns."""
        if principal.is_guest:
            return self.filter(owner_id__in=User.objects.filter(guest_made=True).values("pk"))
        return self.filter(owner_id=principal.user_id)

    def newest_first(self) -> LookQuerySet:
        return self.order_by("-id")


class Look(models.Model):
    """One time that staff saw what somebody said: who, whose, when, why. Written by `looks.py`, then never changed.

    Bare ids and a copied name, no foreign keys: the log outlives the reader's account, and of an erased owner
    only the id is left, which then is nobody's. The database itself refuses to change or delete a row; the one
    exception is the reason of a look whose owner is gone, which may be emptied. `owner_id` is None for a search
    that showed nothing. What was searched for is not kept: it would repeat here what was said there.
    """

    class Kind(models.TextChoices):
        TRANSCRIPT = "transcript"
        SEARCH = "search"
        EXPORT = "export"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    kind = models.CharField(max_length=12, choices=Kind)
    reader_id = models.UUIDField()
    reader_name = models.CharField(max_length=150)
    owner_id = models.UUIDField(null=True)
    conversation_id = models.UUIDField(null=True)
    reason = models.CharField(max_length=300)

    objects = LookQuerySet.as_manager()

    class Meta:
        # Nobody writes or removes a look by hand, superusers neither: there is no such permission.
        default_permissions = ("view",)
        indexes = [
            # Who looked at what is mine, newest first: ids sort by time.
            models.Index(fields=["owner_id", "-id"], name="look_owner_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.reader_name} {self.get_kind_display()}"
