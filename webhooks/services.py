"""What staff do with endpoints and deliveries."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from webhooks import delivery
from webhooks.endpoints import Subscription
from webhooks.event_types import EventType
from webhooks.models import WebhookDelivery, WebhookEndpoint
from webhooks.outbox import write_events

OVERLAP_HOURS = 24
"""For how long what is sent is signed with the secret before a rotation, too."""


@transaction.atomic
def rotate_secret(*, endpoint: WebhookEndpoint) -> None:
    """Give an endpoint a new secret; the one before it is used for OVERLAP_HOURS more."""
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
        secret_number=F("secret_number") + 1,
        previous_secret_until=timezone.now() + dt.timedelta(hours=OVERLAP_HOURS),
    )
    endpoint.refresh_from_db()


@transaction.atomic
def send_test(*, endpoint: WebhookEndpoint) -> None:
    """Send an event of the type `webhook.test` to an endpoint, whatever it is subscribed to."""
    write_events(EventType.TEST, [{"id": str(endpoint.pk)}], [Subscription(endpoint.pk, frozenset(), False, True)])


@transaction.atomic
def replay(*, delivery_ids: Iterable[uuid.UUID]) -> int:
    """Send deliveries again that are over, as if they were new, with the same id; returns how many."""
    over = WebhookDelivery.objects.filter(pk__in=delivery_ids).exclude(state=WebhookDelivery.State.PENDING)
    rows = list(over.values_list("pk", "endpoint_id"))
    over.filter(pk__in=[pk for pk, _ in rows]).update(
        state=WebhookDelivery.State.PENDING, attempts=0, next_attempt_at=timezone.now(), finished_at=None
    )
    transaction.on_commit(lambda: delivery.deliver_soon({endpoint_id for _, endpoint_id in rows}), robust=True)
    return len(rows)
