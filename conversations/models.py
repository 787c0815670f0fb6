"""Conversations and their messages: a tree by parent, of which one branch is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Exists, OuterRef, Q, Subquery
from django.utils import timezone

from accounts.access import OwnedQuerySet, visible_by_id
from accounts.models import User
from conversations import chat_wire, empty_answers
from files.models import File
from foundation.ids import uuid7

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from accounts.callers import Principal


class ConversationQuerySet(OwnedQuerySet["Conversation"]):
    def newest_first(self) -> ConversationQuerySet:
        return self.order_by("-updated_at", "-id")

    def of_guests(self) -> ConversationQuerySet:
        return self.filter(owner__guest_made=True)

    def of_accounts(self) -> ConversationQuerySet:
        return self.filter(owner__guest_made=False)

    def untouched_since(self, moment: datetime) -> ConversationQuerySet:
        return self.filter(updated_at__lt=moment)

    def tagged(self, key: str, principal: Principal | None = None) -> ConversationQuerySet:
        """Those with a tag, by its key (`tags.tag_key`). Name the caller who sees these: then an index finds them."""
        tags = ConversationTag.objects.all() if principal is None else ConversationTag.objects.visible_to(principal)
        return self.filter(pk__in=tags.filter(key=key).order_by().values("conversation_id"))

    def opened_by_hand(self) -> ConversationQuerySet:
        """Those that count against LIMIT_CONVERSATIONS_PER_USER."""
        return self.filter(stateless=False)

    def empty(self) -> ConversationQuerySet:
        return self.filter(head=None, messages=None)


class Conversation(models.Model):
    """One owner's conversation. `head` is the last message of the shown branch; None before the first message."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=200, blank=True)
    # Nobody gave the title: it is empty or repeats the question, and a model may write another (TITLE_MODEL). Null is
    # never written, as with `stateless`.
    title_is_provisional = models.BooleanField(null=True, default=False, db_default=models.Value(False), editable=False)
    end_user = models.CharField(max_length=200, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    head = models.ForeignKey("Message", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    next_position = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    archived_at = models.DateTimeField(null=True, blank=True)
    # The page shows pinned conversations before the others.
    pinned_at = models.DateTimeField(null=True, blank=True)
    # Made by a call that names no conversation and resends its history. Null is never written: a column that may be
    # null, with its default in the database alone, is added at once.
    stateless = models.BooleanField(null=True, default=False, db_default=models.Value(False), editable=False)
    # How much to recall for its answers: {"limit", "mode"}; None means nothing.
    recall = models.JSONField(null=True, blank=True)
    # How its answers are made: see generation.py. It is content; None means nothing.
    generation = models.JSONField(null=True, blank=True)
    # Its id in the export that it was imported from. Null, not '', if there is none: see the constraint.
    source_id = models.CharField(max_length=200, null=True, blank=True, editable=False)  # noqa: DJ001

    objects = ConversationQuerySet.as_manager()

    class Meta:
        constraints = [
            # Lets a second import find the same row.
            models.UniqueConstraint(
                fields=["owner", "source_id"],
                condition=Q(source_id__isnull=False),
                name="conversation_source_unique",
            ),
        ]
        indexes = [
            # The list of one owner's conversations, newest first. With `archived_at`, it counts them without the table.
            models.Index(fields=["owner", "-updated_at", "-id", "archived_at"], name="conversation_owner_newest"),
            # The list of the few that an owner has pinned.
            models.Index(
                fields=["owner", "-updated_at", "-id"],
                condition=Q(pinned_at__isnull=False),
                name="conversation_pinned",
            ),
            # The limit on those that an owner opens by hand counts them; of the others there may be any number.
            models.Index(fields=["owner"], condition=Q(stateless=False), name="conversation_by_hand"),
            # The admin's list of all conversations, and its filters.
            models.Index(fields=["-updated_at", "-id"], name="conversation_recent"),
        ]
        permissions = [("read_content", "Can read what was said, giving a reason that the owner sees")]

    def __str__(self) -> str:
        # Not the title: it repeats the question, and this text appears in logs, labels and lists for staff.
        return str(self.id)

    @property
    def tag_names(self) -> list[str]:
        """Return its tags in the order of the alphabet. Looks them up unless `load_tags` already did."""
        return [tag.name for tag in self.tags.all()]


class ConversationTagQuerySet(OwnedQuerySet["ConversationTag"]):
    def strays(self) -> ConversationTagQuerySet:
        """Those of conversations that are gone: a process of a version without tags leaves them behind."""
        return self.filter(~Exists(Conversation.objects.filter(pk=OuterRef("conversation_id"))))


class ConversationTag(models.Model):
    """A tag on a conversation: `name` as it was written, `key` what it is compared by (tags.py). It is content.

    Without constraints of the database: the version before does not know these rows, and deletes conversations.
    """

    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="tags", db_index=False, db_constraint=False
    )
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    name = models.CharField(max_length=50)
    # Three times as long: a ligature of three letters is compared as these.
    key = models.CharField(max_length=150)

    objects = ConversationTagQuerySet.as_manager()

    class Meta:
        ordering = ["key"]
        constraints = [
            # Also finds the tags of a conversation, to show them and to delete them with it.
            models.UniqueConstraint(fields=["conversation", "key"], name="conversation_tag_once"),
        ]
        indexes = [
            # One owner's conversations with a tag, the list of the owner's tags, and their export.
            models.Index(fields=["owner", "key", "conversation"], name="conversation_tag_owner"),
            # The admin's filter by tag, whoever the owner is.
            models.Index(fields=["key", "conversation"], name="conversation_tag_key"),
        ]

    def __str__(self) -> str:
        # Not the name: this text appears in logs, labels and lists for staff.
        return str(self.pk)


class MessageQuerySet(OwnedQuerySet["Message"]):
    owner_lookup = "conversation__owner"

    def of(self, conversation_id: uuid.UUID) -> MessageQuerySet:
        return self.filter(conversation_id=conversation_id)

    def oldest_first(self) -> MessageQuerySet:
        return self.order_by("position")

    def answers(self) -> MessageQuerySet:
        return self.filter(role=Message.Role.ASSISTANT)

    def versions(self) -> MessageQuerySet:
        """Leave out answers that ended without a word, as a retry that failed, unless somebody went on from them."""
        status = Message.Status
        ended = Q(status__in=[status.FAILED, status.INTERRUPTED, status.CANCELLED])
        silent = Q(role=Message.Role.ASSISTANT, content="", has_parts=False)
        return self.exclude(ended & silent & ~Exists(Message.objects.filter(parent=OuterRef("pk"))))


class Message(models.Model):
    """One message. Editing and regenerating add siblings; nothing is overwritten.

    `content` is the readable text, also of a refusal. A message that is more than one plain text also has `parts`;
    `has_parts` tells, so that other messages need no second query. `usage` is OpenAI's usage object, `upstream` the
    name of the server that answered, `digest` the chain digest of everything up to and including this message.
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
    has_parts = models.BooleanField(default=False, db_default=False, editable=False)
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
            # Finds the answer after which a call that resends its history goes on: of equal ones the newest. Questions,
            # and the examples that calls make up, are not in the index.
            models.Index(
                fields=["digest", "id"],
                condition=Q(role="assistant") & (~Q(model="") | Q(source_id__isnull=False)),
                name="message_answer",
            ),
            # For the admin's filter by status; messages that ended normally, which most did, are not in this index.
            models.Index(
                fields=["status", "conversation"],
                condition=models.Q(status__in=["failed", "interrupted", "cancelled"]),
                name="message_ended_badly",
            ),
            # The admin's filter by model, and its list of models.
            models.Index(fields=["model", "conversation"], condition=~models.Q(model=""), name="message_by_model"),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.position}"

    @property
    def is_answer(self) -> bool:
        """Whether a model wrote it here, or wherever it was imported from: no example that a call made up."""
        return self.role == self.Role.ASSISTANT and (bool(self.model) or self.source_id is not None)

    @property
    def says_nothing(self) -> bool:
        """Whether it is an answer without text and parts, because it failed or has not begun."""
        return not self.content and not self.has_parts and self.role == self.Role.ASSISTANT

    @property
    def empty_reason(self) -> str | None:
        """Why a complete answer has no text, as `empty_answers.py` names it. Imported messages are parts of answers."""
        if self.role != self.Role.ASSISTANT or self.status != self.Status.COMPLETE or self.source_id:
            return None
        return empty_answers.empty_reason(self.as_wire(), self.finish_reason)

    def as_wire(self) -> dict[str, Any]:
        """Return the message in OpenAI's chat format. Looks its parts up unless `load_parts` already did."""
        if self.has_parts:
            return chat_wire.join(self.role, self.author, self.parts.all())
        return chat_wire.with_extras(self.role, self.content, self.author, None)

    def set_content(self, content: str, extras: Mapping[str, Any] | None) -> list[MessagePart]:
        """Set the readable text of an unsaved message; return its parts, to be stored after the message."""
        wire = chat_wire.with_extras(self.role, content, self.author, extras)
        given = chat_wire.split(wire) if extras else None
        self.content = content or (given.content if given else "")
        self.has_parts = bool(given and given.parts)
        return [
            MessagePart(
                message=self,
                position=position,
                kind=part.kind,
                text=part.text,
                call_id=part.call_id,
                name=part.name,
                data=part.data,
                file_id=part.file_id,
            )
            for position, part in enumerate(given.parts if given else ())
        ]

    def extras(self) -> dict[str, Any] | None:
        """Return the fields on the chat wire besides role, `content` and author; None if there are none."""
        if not self.has_parts:
            return None
        return chat_wire.extras_of(self.as_wire(), role=self.role, content=self.content, author=self.author)

    def streamed_text(self) -> str:
        """Return the text that a stream of this answer sends: `content`, unless that is the text of a refusal."""
        content = self.as_wire().get("content") if self.has_parts else self.content
        return content if isinstance(content, str) else self.content


class MessagePart(models.Model):
    """One part of a message that is more than one plain text: `chat_wire.py` describes the columns."""

    class Kind(models.TextChoices):
        TEXT = "text"
        REFUSAL = "refusal"
        REASONING = "reasoning"
        TOOL_CALL = "tool_call"
        TOOL_RESULT = "tool_result"
        IMAGE = "image"
        FILE = "file"
        AUDIO = "audio"
        CITATION = "citation"
        OTHER = "other"

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="parts", db_index=False)
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=12, choices=Kind)
    text = models.TextField(blank=True)
    call_id = models.CharField(max_length=200, blank=True)
    name = models.CharField(max_length=200, blank=True)
    data = models.JSONField(null=True, blank=True)
    # The file that the part refers to. It may be deleted, or may be somebody else's, whom `visible_to` protects.
    file = models.ForeignKey(
        File, null=True, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="message_parts"
    )

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["message", "position"], name="message_part_position_unique")]
        indexes = [
            # Tells whether any message still needs a file.
            models.Index(fields=["file"], condition=Q(file__isnull=False), name="message_part_file"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.position}"


def load_parts(messages: Iterable[Message]) -> None:
    """Load the parts of those messages that have any, by one query."""
    with_parts = [message for message in messages if message.has_parts]
    if with_parts:
        models.prefetch_related_objects(with_parts, "parts")


class TodoQuerySet(OwnedQuerySet["Todo"]):
    def oldest_first(self) -> TodoQuerySet:
        return self.order_by("id")


class Todo(models.Model):
    """A user's to-do, optionally about a conversation; it survives the deletion of the conversation."""

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


class StoredUsage(models.Model):
    """A change of what an account holds; the account holds the sum of its rows. Written by triggers.

    Not a foreign key: that would lock the account's row for every message. `quota.py` reads and merges the rows.
    """

    owner_id = models.UUIDField()
    messages = models.BigIntegerField()
    bytes = models.BigIntegerField()

    class Meta:
        default_permissions = ()
        indexes = [
            # The sum of one account's rows.
            models.Index(fields=["owner_id"], name="usage_owner"),
        ]


class AccessLogEntryQuerySet(models.QuerySet["AccessLogEntry"]):
    def visible_to(self, principal: Principal) -> AccessLogEntryQuerySet:
        """Return the entries about content that `principal` owns."""
        return self.filter(visible_by_id(principal, "owner_id"))

    def newest_first(self) -> AccessLogEntryQuerySet:
        return self.order_by("-id")

    def with_conversation(self) -> AccessLogEntryQuerySet:
        """Add `title` and `end_user` of the conversation that was seen; None once it is deleted."""
        seen = Conversation.objects.filter(pk=OuterRef("conversation_id"), owner_id=OuterRef("owner_id"))
        return self.annotate(title=Subquery(seen.values("title")), end_user=Subquery(seen.values("end_user")))


class AccessLogEntry(models.Model):
    """One access of staff to content: who, whose, when, why. Written by `access_log.py` and never changed.

    It has bare ids and a copied name instead of foreign keys: the log outlives the reader's account, and a deleted
    owner leaves only an id, which then refers to nobody. The database itself refuses to change or delete a row, with
    one exception: the reason may be emptied once the owner is gone. `owner_id` is None for a search without results,
    `conversation_id` also for a key, by which the reader can see all that its scopes allow.
    The search terms are not stored, since they would repeat private content here.
    """

    class Kind(models.TextChoices):
        TRANSCRIPT = "transcript"
        SEARCH = "search"
        EXPORT = "export"
        KEY = "key"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    kind = models.CharField(max_length=12, choices=Kind)
    reader_id = models.UUIDField()
    reader_name = models.CharField(max_length=150)
    owner_id = models.UUIDField(null=True)
    conversation_id = models.UUIDField(null=True)
    reason = models.CharField(max_length=300)

    objects = AccessLogEntryQuerySet.as_manager()

    class Meta:
        verbose_name = "access log entry"
        verbose_name_plural = "access log"
        # Nobody, not even a superuser, adds, changes or deletes an entry by hand: such permissions do not exist.
        default_permissions = ("view",)
        indexes = [
            # The entries about one owner's content, newest first: ids sort by time.
            models.Index(fields=["owner_id", "-id"], name="access_log_owner_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.reader_name} {self.get_kind_display()}"
