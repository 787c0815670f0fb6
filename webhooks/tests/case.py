"""For tests of webhooks: endpoints that receive on loopback."""

from __future__ import annotations

from typing import Any
from unittest import mock

from django.test import TestCase, override_settings

from webhooks import endpoints
from webhooks.endpoints import forget_endpoints
from webhooks.event_types import SUBSCRIBABLE
from webhooks.models import WebhookDelivery, WebhookEndpoint
from webhooks.services import send_test
from webhooks.tests.receiver import Receiver

EVERY_TYPE = [value for value, _ in SUBSCRIBABLE]
LOOPBACK = ["127.0.0.1/32"]


def make_endpoint(url: str = "https://hooks.example.org/", **fields: Any) -> WebhookEndpoint:
    """Store an endpoint that is told of all types unless `event_types` says otherwise."""
    made = WebhookEndpoint.objects.create(**{"url": url, "event_types": EVERY_TYPE, **fields})
    forget_endpoints()
    return made


class WebhookCase(TestCase):
    def setUp(self) -> None:
        forget_endpoints()
        self.addCleanup(forget_endpoints)
        # So that a slow machine does not read them again in between.
        self.enterContext(mock.patch.object(endpoints._kept, "_seconds", 600.0))
        self.enterContext(override_settings(WEBHOOK_NETWORKS=LOOPBACK))

    def receiver(self, *answers: int | str) -> Receiver:
        return self.enterContext(Receiver(answers=list(answers)))

    def sent_test(self, endpoint: WebhookEndpoint) -> WebhookDelivery:
        """Return a delivery of a test event."""
        send_test(endpoint=endpoint)
        return endpoint.deliveries.latest("id")
