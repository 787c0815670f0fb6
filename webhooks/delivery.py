"""Delivers what is in the outbox, at least once: in a thread for each endpoint, so that a slow one delays no other.

A delivery is claimed by moving its next attempt LEASE_SECONDS away, by the database's clock. Whoever dies in between
leaves it to the sweep of any process.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now
from django.dispatch import receiver
from django.utils import timezone

from completions.signals import sweeping
from foundation.database import StorageError, release_connection
from foundation.ids import first_id_of
from foundation.outages import note_failure
from webhooks.endpoints import forget_endpoints, subscriptions
from webhooks.models import WebhookDelivery, WebhookEndpoint
from webhooks.sending import Message, Sent, send
from webhooks.signing import signed_headers

logger = logging.getLogger(__name__)

AT_ONCE = 10
LEASE_SECONDS = 60.0
"""Several times as long as an attempt may take."""
# Five seconds after the first attempt, and three times as long after each; a day in all.
FIRST_PAUSE, FACTOR, MAX_PAUSE = 5.0, 3.0, 4 * 3600.0
MAX_ATTEMPTS = 14
JITTER = 0.2
KEPT_DAYS = 14
"""How long deliveries are kept, in whatever state."""
PRUNE_SECONDS = 3600.0
SLICE = 500

_lock = threading.Lock()
_wanted: set[uuid.UUID] = set()
_running: set[uuid.UUID] = set()
_serves = False
_prune_at = 0.0


def deliver_soon(endpoint_ids: Iterable[uuid.UUID]) -> None:
    """Deliver what is due for these endpoints, in threads; in a process that does not serve, do nothing."""
    if not _serves:
        return
    with _lock:
        for endpoint_id in endpoint_ids:
            _wanted.add(endpoint_id)
            if endpoint_id not in _running:
                _running.add(endpoint_id)
                threading.Thread(target=_work, args=(endpoint_id,), name="webhook", daemon=True).start()


@receiver(sweeping)
def _sweep(sender: Any, **kwargs: Any) -> None:
    """Deliver what is due: attempts after a pause, and what a dead process had claimed. Deletes what is old."""
    global _serves, _prune_at
    _serves = True
    if not subscriptions():
        return
    due = WebhookDelivery.objects.due().filter(endpoint=OuterRef("pk"))
    deliver_soon(WebhookEndpoint.objects.filter(Exists(due), is_active=True).values_list("pk", flat=True))
    if time.monotonic() >= _prune_at:
        _prune_at = time.monotonic() + PRUNE_SECONDS
        prune()


def deliver(endpoint_id: uuid.UUID) -> int:
    """Send some of what is due for an endpoint and store what became of it; returns how many."""
    endpoint = WebhookEndpoint.objects.filter(pk=endpoint_id, is_active=True).first()
    claimed = _claim(endpoint_id) if endpoint is not None else []
    if endpoint is not None and claimed:
        release_connection()  # others can use it while the receiver makes us wait
        _record(claimed, send([_message(endpoint, each) for each in claimed]))
    return len(claimed)


def prune() -> int:
    """Delete the deliveries that are older than KEPT_DAYS; returns how many."""
    old = WebhookDelivery.objects.filter(pk__lt=first_id_of(timezone.now() - dt.timedelta(days=KEPT_DAYS)))
    dropped = 0
    while batch := list(old.values_list("pk", flat=True)[:SLICE]):
        dropped += WebhookDelivery.objects.filter(pk__in=batch).delete()[0]
    return dropped


def body_of(delivery: WebhookDelivery) -> dict[str, Any]:
    """Return an event as it is sent."""
    return {
        "id": f"evt_{delivery.event_id.hex}",
        "object": "event",
        "created_at": int(delivery.created_at.timestamp()),
        "type": delivery.event_type,
        "data": delivery.data,
    }


def _work(endpoint_id: uuid.UUID) -> None:
    try:
        while _is_wanted(endpoint_id):
            while deliver(endpoint_id):
                pass
    except Exception as error:
        with _lock:
            _running.discard(endpoint_id)
        if isinstance(error, StorageError):
            note_failure(error)
        else:
            logger.warning("webhooks: %s, trying again", type(error).__name__)
    finally:
        connection.close()


def _is_wanted(endpoint_id: uuid.UUID) -> bool:
    with _lock:
        if endpoint_id in _wanted:
            _wanted.discard(endpoint_id)
            return True
        _running.discard(endpoint_id)
        return False


def _claim(endpoint_id: uuid.UUID) -> list[WebhookDelivery]:
    due = WebhookDelivery.objects.due().filter(endpoint=endpoint_id).order_by("next_attempt_at")
    if not due.exists():
        return []
    with transaction.atomic():
        skip = connection.features.has_select_for_update_skip_locked
        claimed = list(due.select_for_update(skip_locked=skip)[:AT_ONCE])
        WebhookDelivery.objects.filter(pk__in=[each.pk for each in claimed]).update(
            attempts=F("attempts") + 1, next_attempt_at=Now() + dt.timedelta(seconds=LEASE_SECONDS)
        )
    for each in claimed:
        each.attempts += 1
    return claimed


def _message(endpoint: WebhookEndpoint, delivery: WebhookDelivery) -> Message:
    event = body_of(delivery)
    body = json.dumps(event, separators=(",", ":"))
    return Message(endpoint.url, body, signed_headers(endpoint, event["id"], body, timezone.now()))


@transaction.atomic
def _record(claimed: Sequence[WebhookDelivery], results: Sequence[Sent]) -> None:
    for delivery, sent in sorted(zip(claimed, results, strict=True), key=lambda pair: pair[0].pk):
        # Not of a claim that was over before this: then another process has its own.
        ours = WebhookDelivery.objects.filter(
            pk=delivery.pk, state=WebhookDelivery.State.PENDING, attempts=delivery.attempts
        )
        told = {"last_status": sent.status, "last_error": sent.error[:60]}
        if sent.is_success:
            ours.update(state=WebhookDelivery.State.DELIVERED, finished_at=Now(), **told)
        elif delivery.attempts >= MAX_ATTEMPTS:
            ours.update(state=WebhookDelivery.State.DEAD, finished_at=Now(), **told)
            logger.warning("a webhook to endpoint %s is given up after %d attempts", delivery.endpoint_id, MAX_ATTEMPTS)
        else:
            pause = max(pause_after(delivery.attempts), min(sent.retry_after, MAX_PAUSE))
            ours.update(next_attempt_at=Now() + dt.timedelta(seconds=pause), **told)
    if any(sent.status == HTTPStatus.GONE for sent in results):
        endpoint_id = claimed[0].endpoint_id
        WebhookEndpoint.objects.filter(pk=endpoint_id).update(is_active=False)
        transaction.on_commit(forget_endpoints)
        logger.warning("webhook endpoint %s says that it is gone (410) and is not active any more", endpoint_id)


def pause_after(attempts: int) -> float:
    """Return the seconds until the next attempt, of which a part is random."""
    pause = min(MAX_PAUSE, FIRST_PAUSE * FACTOR ** (attempts - 1))
    return pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
