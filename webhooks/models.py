"""Where webhooks are sent, and each delivery of an event: an outbox that any process works off."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.addresses import parse_address
from foundation.ids import uuid7
from webhooks.event_types import EventType
from webhooks.networks import may_reach

MAX_URL_CHARS = 500


class WebhookEndpoint(models.Model):
    """An address that is told of some types of events.

    Its secret is not stored but derived from `secret_number` (`signing.py`); until `previous_secret_until`, what is
    sent is signed with the secret before it, too.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    url = models.CharField(
        "URL", max_length=MAX_URL_CHARS, help_text="https://… A receiver inside of WEBHOOK_NETWORKS may have http://."
    )
    description = models.CharField(max_length=200, blank=True)
    event_types = models.JSONField(default=list)
    all_answers = models.BooleanField(
        default=False,
        help_text="response.* for every stored answer of every API, not only for responses in the background.",
    )
    is_active = models.BooleanField(default=True, help_text="Events wait here while it is not, for two weeks at most.")
    secret_number = models.PositiveIntegerField(default=1, editable=False)
    previous_secret_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "webhook endpoint"

    def __str__(self) -> str:
        return self.description or self.url

    def clean(self) -> None:
        super().clean()
        problem = _problem_with(self.url)
        if problem:
            raise ValidationError({"url": problem})


def _problem_with(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_complete = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
    except ValueError:
        is_complete = False
    if not is_complete or " " in url or not url.isprintable():
        return "Enter an address such as https://example.org/webhooks."
    if parts.username or parts.password or parts.fragment:
        return "Leave out names, passwords and fragments."
    host, is_encrypted = parts.hostname or "", parts.scheme == "https"
    # What a name means is checked when it is connected to.
    is_forbidden = parse_address(host) and not may_reach(host, is_encrypted=is_encrypted)
    if is_forbidden or not (is_encrypted or settings.WEBHOOK_NETWORKS):
        return "Only https:// on the public Internet can be reached; WEBHOOK_NETWORKS allows more."
    return ""


class WebhookDeliveryQuerySet(models.QuerySet["WebhookDelivery"]):
    def due(self) -> Self:
        """Return what has to be sent now: by the database's clock, since a claim of another machine may hold it."""
        return self.filter(state=WebhookDelivery.State.PENDING, next_attempt_at__lte=Now())


class WebhookDelivery(models.Model):
    """One event for one endpoint. `data` holds ids and numbers, never content.

    Whoever sends it moves `next_attempt_at` into the future first, which is the claim: a process that dies leaves it to
    the next one.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        DEAD = "dead"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Without a constraint: a process that knows an endpoint for two seconds after its deletion must not fail.
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", db_index=False, db_constraint=False
    )
    event_id = models.UUIDField()
    event_type = models.CharField(max_length=40, choices=EventType)
    data = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    last_status = models.PositiveSmallIntegerField(null=True)
    last_error = models.CharField(max_length=60, blank=True)
    finished_at = models.DateTimeField(null=True)

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        default_permissions = ("view", "change")
        verbose_name = "webhook delivery"
        verbose_name_plural = "webhook deliveries"
        indexes = [
            # What is due for an endpoint, oldest first: the sweep asks every few seconds.
            models.Index(
                fields=["endpoint", "next_attempt_at"], condition=Q(state="pending"), name="webhook_delivery_due"
            ),
            # An endpoint's log, newest first; what is deleted with it.
            models.Index(fields=["endpoint", "-id"], name="webhook_delivery_log"),
            # The dead ones in the admin, and how many an endpoint has.
            models.Index(fields=["endpoint"], condition=Q(state="dead"), name="webhook_delivery_dead"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.event_id.hex}"
