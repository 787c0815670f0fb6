"""Which endpoints there are, kept in memory for a few seconds: where there are none, nothing is asked and written."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import NamedTuple

from foundation.kept import Kept
from webhooks.models import WebhookEndpoint

KEPT_SECONDS = 2.0
"""How soon a changed endpoint applies in the other processes; in the one that changed it, it applies at once."""


class Subscription(NamedTuple):
    """What an endpoint wants to be told."""

    endpoint_id: uuid.UUID
    event_types: frozenset[str]
    all_answers: bool
    is_active: bool


def _read() -> tuple[Subscription, ...]:
    return tuple(
        Subscription(each.pk, frozenset(each.event_types), each.all_answers, each.is_active)
        for each in WebhookEndpoint.objects.all()
    )


_kept = Kept(_read, seconds=KEPT_SECONDS)


def subscriptions() -> tuple[Subscription, ...]:
    """Return what all endpoints want, also those that are not active: their events wait."""
    return _kept.get()


def subscribed(event_types: Iterable[str]) -> list[Subscription]:
    """Return those that want any of these types."""
    wanted = frozenset(event_types)
    return [each for each in _kept.get() if each.event_types & wanted]


def forget_endpoints() -> None:
    """Read the endpoints again when one is needed: call it when a change is committed."""
    _kept.forget()
