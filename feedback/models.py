"""Feedback: one row for each user and answer."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from conversations.models import Message
from foundation.ids import uuid7

MAX_COMMENT_CHARS = 2_000


class Feedback(models.Model):
    """What a user thinks of an answer. `model` and `upstream` are copied from the message, so that filters are fast.

    `reviewed_at` is set by staff, and emptied when the user changes the feedback.
    """

    class Rating(models.TextChoices):
        UP = "up", "Good"
        DOWN = "down", "Bad"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Without a name on the message: dialects put the caller's own feedback there.
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="feedback", db_index=False)
    rating = models.CharField(max_length=4, choices=Rating)
    comment = models.TextField(max_length=MAX_COMMENT_CHARS, blank=True)
    model = models.CharField(max_length=200, blank=True)
    upstream = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    reviewed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "feedback"
        constraints = [
            # Also finds the feedback on messages, to show it and to delete it with them.
            models.UniqueConstraint(fields=["message", "user"], name="feedback_message_user_unique"),
        ]
        indexes = [
            # One user's feedback: the admin's search, the account's export and its deletion.
            models.Index(fields=["user", "-id"], name="feedback_user"),
            # The admin's queue of what nobody has reviewed, newest first.
            models.Index(fields=["-id"], condition=Q(reviewed_at=None), name="feedback_to_review"),
            # The admin's filters by model and by upstream, newest first.
            models.Index(fields=["model", "-id"], name="feedback_model"),
            models.Index(fields=["upstream", "-id"], name="feedback_upstream"),
        ]

    def __str__(self) -> str:
        # Not the comment: this text appears in logs, labels and lists for staff.
        return str(self.id)
