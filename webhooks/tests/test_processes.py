"""Webhooks of the running service: what its API does is told, by several processes once, and after `kill -9`."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from django.test import override_settings
from django.utils import timezone
from openai import OpenAI

from chatservice.testing import ServiceTestCase, needs_dialect, running_service, wait_until
from webhooks.delivery import deliver
from webhooks.endpoints import KEPT_SECONDS, forget_endpoints
from webhooks.models import WebhookDelivery, WebhookEndpoint
from webhooks.services import send_test
from webhooks.signing import secret_of
from webhooks.tests.case import LOOPBACK, make_endpoint
from webhooks.tests.receiver import Receiver

needs_dialect("openai_v1")
CANARY = "CANARYTOLDINPRIVATE"
RESPONSES = ["response.completed", "response.incomplete", "response.failed", "response.cancelled"]


@override_settings(WEBHOOK_NETWORKS=LOOPBACK)
class ProcessesTest(ServiceTestCase):
    def endpoint(self, receiver: Receiver, **fields: Any) -> WebhookEndpoint:
        """Return an endpoint of this test alone, which the processes know when this returns."""
        made = make_endpoint(receiver.url, **fields)
        self.addCleanup(forget_endpoints)
        self.addCleanup(made.delete)
        send_test(endpoint=made)
        wait_until(lambda: receiver.received, what="the test event")
        known_at = time.monotonic() + KEPT_SECONDS  # by then every process has read the endpoints again
        wait_until(lambda: time.monotonic() > known_at, what="the processes")
        receiver.received.clear()
        return made

    def client_at(self, url: str, secret: str = "") -> OpenAI:
        client = OpenAI(base_url=f"{url}/v1", api_key=self.alice.secret, webhook_secret=secret, max_retries=0)
        self.addCleanup(client.close)
        return client

    def test_openais_client_is_told_of_its_responses_in_the_background(self) -> None:
        receiver = self.enterContext(Receiver())
        client = self.client_at(self.service.url, secret_of(self.endpoint(receiver, event_types=RESPONSES)))
        client.responses.create(model="echo", input=CANARY)
        client.responses.create(model="echo", input=CANARY, store=False)
        models = ("echo", "fake/reasoning-only", "fake/truncated", "fake/slow:50ms:400")
        made = [client.responses.create(model=each, input=CANARY, background=True) for each in models]
        client.responses.cancel(made[-1].id)
        wait_until(lambda: len(receiver.received) >= len(made), what="the events")
        told = {}
        for got in receiver.received:
            event: Any = client.webhooks.unwrap(got.body, got.headers)
            told[event.data.id] = event.type
            self.assertNotIn(CANARY, f"{got.body!r} {got.headers}")
        statuses = {each.id: f"response.{client.responses.retrieve(each.id).status}" for each in made}
        self.assertEqual(told, statuses)
        self.assertEqual(sorted(told.values()), sorted(RESPONSES))

    def test_two_processes_do_not_send_the_same(self) -> None:
        count = 40
        receiver = self.enterContext(Receiver())
        endpoint = self.endpoint(receiver)
        receiver.answers = ["slow"] * (count // 2)
        for _ in range(count):
            send_test(endpoint=endpoint)
        wait_until(lambda: receiver.received, what="the other process's first")
        pending = endpoint.deliveries.filter(state=WebhookDelivery.State.PENDING)
        sent_here = 0

        def all_sent() -> bool:
            nonlocal sent_here
            sent_here += deliver(endpoint.pk)
            return not pending.exists()

        wait_until(all_sent, timeout=30, what="the deliveries")
        self.assertLess(sent_here, count, "the other process has sent nothing")
        counts = Counter(got.headers["webhook-id"] for got in receiver.received)
        self.assertEqual((len(counts), sum(counts.values())), (count, count))

    def test_one_that_hangs_delays_no_other(self) -> None:
        hanging, prompt = (self.enterContext(Receiver()) for _ in range(2))
        first, second = self.endpoint(hanging), self.endpoint(prompt)
        hanging.answers = ["hang"]
        for endpoint in (first, second):
            send_test(endpoint=endpoint)
        wait_until(lambda: hanging.received and prompt.received, what="the events")
        found = first.deliveries.latest("id")
        self.assertEqual((found.state, found.last_error), ("pending", ""), "it still hangs")

    def test_what_a_killed_process_was_sending_is_sent_by_another(self) -> None:
        receiver = self.enterContext(Receiver())
        endpoint = self.endpoint(receiver, event_types=RESPONSES)
        with running_service() as service:
            client = self.client_at(service.url, secret_of(endpoint))
            receiver.answers = ["hang"]
            made = client.responses.create(model="echo", input=CANARY, background=True)
            wait_until(lambda: receiver.received, what="the delivery")
            service.kill()
        found = endpoint.deliveries.get(data={"id": made.id})
        self.assertEqual((found.state, found.attempts), ("pending", 1))
        self.assertGreater(found.next_attempt_at, timezone.now(), "the claim holds for a while")
        WebhookDelivery.objects.filter(pk=found.pk).update(next_attempt_at=timezone.now())  # and then it is over
        wait_until(lambda: len(receiver.received) > 1, what="the second delivery")
        events = [client.webhooks.unwrap(got.body, got.headers) for got in receiver.received]
        self.assertEqual([event.id for event in events], [f"evt_{found.event_id.hex}"] * 2)
        wait_until(lambda: endpoint.deliveries.filter(pk=found.pk, state="delivered", attempts=2).exists())
