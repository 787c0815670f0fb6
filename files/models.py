"""Files and the changes of their content that are not finished yet."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any, Self

from django.db import models
from django.db.models import OuterRef, Q, Subquery, Sum
from django.db.models.expressions import RawSQL
from django.utils import timezone

from accounts.access import OwnedQuerySet
from accounts.callers import Principal
from accounts.models import User
from foundation.database import database_clock
from foundation.ids import uuid7

ABANDONED_AFTER = dt.timedelta(hours=1)
LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
NOBODY, HELD = uuid.UUID(int=0), ""
"""Owner and digest of a change that keeps all contents in the storage: see holds.py."""


class FileQuerySet(OwnedQuerySet["File"]):
    def visible_to(self, principal: Principal) -> Self:
        """Return the files that `principal` may see; an expired one is gone before the sweep deletes it."""
        return super().visible_to(principal).exclude(expires_at__lte=timezone.now())

    def expired(self) -> Self:
        return self.filter(expires_at__lte=timezone.now())

    def sharing_limits(self, owner_id: uuid.UUID) -> Self:
        """Return the files of an account and of all accounts that share its limits."""
        return self.filter(owner__in=User.objects.sharing_limits(owner_id))

    def uploaded(self) -> Self:
        """Return the files that somebody uploaded, without those that came inside of messages."""
        return self.filter(from_message=False)

    def unused(self) -> Self:
        """Return the files that came inside of messages which are all gone."""
        return self.filter(from_message=True, message_parts=None)

    def with_text_state(self) -> Self:
        """Add what is known of their texts: `text_state` and `text_reason`."""
        said = FileText.objects.filter(owner=OuterRef("owner_id"), sha256=OuterRef("sha256"))
        return self.annotate(text_state=Subquery(said.values("state")), text_reason=Subquery(said.values("reason")))

    def with_content(self, owner_id: uuid.UUID, sha256: str) -> Self:
        return self.filter(owner_id=owner_id, sha256=sha256)

    def stored_bytes(self) -> int:
        """Return how much the files take in the storage, where equal content of one owner is stored once."""
        contents = self.order_by().values("owner_id", "sha256", "size").distinct()
        held: dict[str, Any] = contents.aggregate(bytes=Sum("size"))
        return held["bytes"] or 0


class File(models.Model):
    """An uploaded file. Its content is in the storage `files`, named after its owner and digest.

    `media_type` is told from the content; `name` is the client's. Several files of one owner may share their content.
    """

    class Purpose(models.TextChoices):
        ASSISTANTS = "assistants"
        BATCH = "batch"
        FINE_TUNE = "fine-tune"
        VISION = "vision"
        USER_DATA = "user_data"
        EVALS = "evals"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="files", db_index=False)
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    media_type = models.CharField(max_length=100)
    name = models.CharField(max_length=255)
    purpose = models.CharField(max_length=20, choices=Purpose)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Came inside of a message, not by an upload: it is deleted with the last message that refers to it.
    from_message = models.BooleanField(default=False, db_default=False, editable=False)

    # Added by `with_text_state`; None if the file is not read.
    text_state: str | None = None
    text_reason: str | None = None

    objects = FileQuerySet.as_manager()

    class Meta:
        indexes = [
            # An owner's files, newest first.
            models.Index(fields=["owner", "-id"], name="file_owner_newest"),
            # Finds equal content, and adds up what an owner stores without the table.
            models.Index(fields=["owner", "sha256", "size"], name="file_owner_content"),
            models.Index(fields=["expires_at"], condition=Q(expires_at__isnull=False), name="file_expiring"),
        ]

    def __str__(self) -> str:
        # Not the name, which may say what is in it: this text appears in logs, labels and lists for staff.
        return str(self.id)

    @property
    def stored_name(self) -> str:
        return stored_name(self.owner_id, self.sha256)


class FileTextQuerySet(models.QuerySet["FileText"]):
    def of(self, owner_id: uuid.UUID, sha256: str) -> Self:
        return self.filter(owner_id=owner_id, sha256=sha256)

    def of_files(self, files: Iterable[File]) -> Self:
        """Return the texts of these files: found by owner and digest."""
        contents = {(file.owner_id, file.sha256) for file in files}
        owners, digests = {owner for owner, _ in contents}, {digest for _, digest in contents}
        return self.filter(owner__in=owners, sha256__in=digests)

    def waiting(self) -> Self:
        return self.filter(state=FileText.State.WAITING)

    def unclaimed(self) -> Self:
        return self.filter(claimed_until__lt=RawSQL(database_clock(), []))  # noqa: S611  an expression of ours


class FileText(models.Model):
    """What a content says that files of one owner have: it is read once, and goes with the last of these files.

    `reason` tells why a text is missing or incomplete, in the words of `Reason` in `files/reading/values.py`.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        READ = "read"
        EMPTY = "empty"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False)
    sha256 = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    reason = models.CharField(max_length=20, blank=True)
    text = models.TextField(blank=True)
    chars = models.PositiveIntegerField(default=0)
    # When a reader's claim expires, in Unix seconds of the database, and how many readers died over it.
    claimed_until = models.FloatField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)

    objects = FileTextQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "sha256"], name="file_text_of_content")]
        indexes = [
            # The next ones to read, newest first.
            models.Index(fields=["-id"], condition=Q(state="waiting"), name="file_text_waiting"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class ContentChangeQuerySet(models.QuerySet["ContentChange"]):
    def of(self, owner_id: uuid.UUID, sha256: str) -> ContentChangeQuerySet:
        return self.filter(owner_id=owner_id, sha256=sha256)

    def abandoned(self) -> ContentChangeQuerySet:
        return self.filter(created_at__lt=timezone.now() - ABANDONED_AFTER)

    def holds(self) -> ContentChangeQuerySet:
        """Return the holds of backups that are being made, which keep all contents where they are."""
        return self.of(NOBODY, HELD).filter(created_at__gte=timezone.now() - ABANDONED_AFTER)


class ContentChange(models.Model):
    """Content that is being written or deleted at the moment.

    It is committed before the storage is touched and deleted afterwards. One that stays behind belongs to a process
    that died: the sweep deletes the content then, unless a file needs it. The owner may be erased meanwhile, so this
    is no foreign key.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner_id = models.UUIDField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ContentChangeQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["owner_id", "sha256"], name="content_change_of_content")]

    def __str__(self) -> str:
        return str(self.id)


def folder_of(owner_id: uuid.UUID) -> str:
    return owner_id.hex


def stored_name(owner_id: uuid.UUID, sha256: str) -> str:
    """Return the name of an owner's content in the storage."""
    return f"{folder_of(owner_id)}/{sha256}"
