"""Shared links: who has one may read a conversation up to one of its messages, without an account."""

from __future__ import annotations

from django.db import models
from django.db.models import F
from django.utils import timezone

from accounts.access import OwnedQuerySet
from accounts.models import User
from conversations.models import Conversation, Message
from foundation.ids import uuid7
from sharing.tokens import token_of


class SharedLinkQuerySet(OwnedQuerySet["SharedLink"]):
    def unexpired(self) -> SharedLinkQuerySet:
        return self.filter(expires_at__gt=timezone.now())

    def working(self) -> SharedLinkQuerySet:
        """Return the links that open something: unexpired, of an active account, and of what is still there."""
        return self.unexpired().filter(
            owner__is_active=True, conversation__owner=F("owner"), message__conversation=F("conversation")
        )


class SharedLink(models.Model):
    """A link to the branch of a conversation that ends with `message`, until `expires_at`. Revoking deletes the row.

    No content is copied. Messages never change: an edit or another answer is a new message beside the old one, and what
    is said later comes after `message`, so that the branch up to it is what was shared. What is deleted later is gone
    from the link, and with `message` or the conversation the link itself. Only the title is copied, because it can be
    changed; it is what the owner saw when they shared it.

    The token is not stored. It is a MAC of the id under KEY_PEPPER, so that the owner can copy the link again, and
    `digest`, by which it is found, is an HMAC of it, as of a key: a stolen database opens no link.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Without constraints: the version before does not know these rows, and deletes what they refer to.
    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="shared_links", db_constraint=False, db_index=False
    )
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="shared_links", db_constraint=False
    )
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    title = models.CharField(max_length=200, blank=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()

    objects = SharedLinkQuerySet.as_manager()

    class Meta:
        indexes = [
            # One owner's links, newest first: the list, the limit on their number, and the account's deletion.
            models.Index(fields=["owner", "-id"], name="shared_link_owner_newest"),
            # For pruning.
            models.Index(fields=["expires_at"], name="shared_link_expiry"),
        ]

    def __str__(self) -> str:
        # Not the title: this text appears in logs, labels and lists for staff.
        return str(self.id)

    @property
    def token(self) -> str:
        return token_of(self.id)
