"""What a receiver gets, and what becomes of a delivery when it fails, hangs, redirects or is somewhere forbidden."""

from __future__ import annotations

import datetime as dt
import socket
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from django.db.models.functions import Now
from django.test import override_settings
from django.utils import timezone
from openai import InvalidWebhookSignatureError, OpenAI

from chatservice.testing import tried_on
from completions.tests.certificates import self_signed
from webhooks import delivery, sending
from webhooks.delivery import LEASE_SECONDS, MAX_ATTEMPTS, deliver, pause_after, prune
from webhooks.models import WebhookDelivery, WebhookEndpoint
from webhooks.services import replay, rotate_secret
from webhooks.signing import secret_of
from webhooks.tests.case import WebhookCase, make_endpoint
from webhooks.tests.receiver import Receiver, unused_url

client = OpenAI(api_key="none")


def make_due(*deliveries: WebhookDelivery) -> None:
    """Let time pass until the next attempt, and a second more: SQLite's clock is some of one behind."""
    due = timezone.now() - dt.timedelta(seconds=1)
    WebhookDelivery.objects.filter(pk__in=[each.pk for each in deliveries]).update(next_attempt_at=due)


class DeliveryTest(WebhookCase):
    def assert_result(
        self, found: WebhookDelivery, state: str, attempts: int, status: int | None, error: str = ""
    ) -> None:
        found.refresh_from_db()
        self.assertEqual(
            (found.state, found.attempts, found.last_status, found.last_error), (state, attempts, status, error)
        )

    def test_openais_client_verifies_it(self) -> None:
        receiver = self.receiver()
        endpoint = make_endpoint(receiver.url)
        found = self.sent_test(endpoint)
        WebhookDelivery.objects.update(event_type="response.completed", data={"id": "resp_1"})
        self.assertEqual(deliver(endpoint.pk), 1)
        [got] = receiver.received
        event: Any = client.webhooks.unwrap(got.body, got.headers, secret=secret_of(endpoint))
        self.assertEqual((event.type, event.object, event.data.id), ("response.completed", "event", "resp_1"))
        self.assertEqual((event.id, got.headers["webhook-id"]), (f"evt_{found.event_id.hex}",) * 2)
        self.assertEqual(event.created_at, int(found.created_at.timestamp()))
        self.assertEqual(got.headers["content-type"], "application/json")
        for secret, body in ((secret_of(make_endpoint()), got.body), (secret_of(endpoint), got.body + b" ")):
            with self.assertRaises(InvalidWebhookSignatureError):
                client.webhooks.unwrap(body, got.headers, secret=secret)
        self.assert_result(found, "delivered", 1, 200)
        self.assertEqual(deliver(endpoint.pk), 0)

    def test_after_a_rotation_both_secrets_verify_for_a_while(self) -> None:
        receiver = self.receiver()
        endpoint = make_endpoint(receiver.url)
        secrets = [secret_of(endpoint)]
        for _ in range(2):
            rotate_secret(endpoint=endpoint)
            secrets.append(secret_of(endpoint))
        self.assertEqual(len(set(secrets)), 3)
        self.sent_test(endpoint)
        deliver(endpoint.pk)
        WebhookEndpoint.objects.update(previous_secret_until=timezone.now())
        self.sent_test(endpoint)
        deliver(endpoint.pk)
        verified = [[self.verifies(got, secret) for secret in secrets] for got in receiver.received]
        self.assertEqual(verified, [[False, True, True], [False, False, True]])

    def verifies(self, got: Any, secret: str) -> bool:
        try:
            client.webhooks.unwrap(got.body, got.headers, secret=secret)
        except InvalidWebhookSignatureError:
            return False
        return True

    def test_what_fails_is_sent_again_with_the_same_id(self) -> None:
        receiver = self.receiver(500, 429, 302, 200)
        receiver.redirect_to = receiver.url
        endpoint = make_endpoint(receiver.url)
        found = self.sent_test(endpoint)
        for attempt, status in enumerate((500, 429, 302), start=1):
            self.assertEqual(deliver(endpoint.pk), 1)
            self.assert_result(found, "pending", attempt, status)
            self.assertEqual(deliver(endpoint.pk), 0, "it pauses")
            make_due(found)
        deliver(endpoint.pk)
        self.assert_result(found, "delivered", 4, 200)
        self.assertEqual(len(receiver.received), 4, "a redirect is not followed")
        self.assertEqual(len({got.headers["webhook-id"] for got in receiver.received}), 1)
        self.assertEqual(len({got.body for got in receiver.received}), 1)

    def test_a_receiver_says_how_long_to_wait(self) -> None:
        for said, most in (("600", 600), ("99999999", delivery.MAX_PAUSE), ("-5", 6), ("tomorrow", 6), ("٣٠", 6)):
            receiver = self.receiver(503)
            receiver.retry_after = said.encode().decode("latin-1")
            found = self.sent_test(make_endpoint(receiver.url))
            before = timezone.now()
            deliver(found.endpoint_id)
            found.refresh_from_db()
            waits = (found.next_attempt_at - before).total_seconds()
            self.assertTrue(most * 0.5 < waits < most + 30, f"{said}: {waits}")

    def test_a_receiver_that_is_gone_is_sent_nothing_more_until_staff_say_so(self) -> None:
        receiver = self.receiver(410)
        endpoint = make_endpoint(receiver.url)
        found = self.sent_test(endpoint)
        with self.assertLogs("webhooks", "WARNING"), self.captureOnCommitCallbacks(execute=True):
            deliver(endpoint.pk)
        self.assert_result(found, "pending", 1, 410)
        endpoint.refresh_from_db()
        self.assertFalse(endpoint.is_active)
        make_due(found)
        self.assertEqual((deliver(endpoint.pk), len(receiver.received)), (0, 1))
        WebhookEndpoint.objects.update(is_active=True)
        deliver(endpoint.pk)
        self.assert_result(found, "delivered", 2, 200)

    def test_a_receiver_that_hangs_is_given_up(self) -> None:
        for answer in ("hang", "drip"):
            receiver = self.receiver(answer)
            endpoint = make_endpoint(receiver.url)
            found = self.sent_test(endpoint)
            began = time.monotonic()
            with mock.patch.object(sending, "SECONDS", 0.4):
                deliver(endpoint.pk)
            self.assertLess(time.monotonic() - began, 5)
            self.assert_result(found, "pending", 1, None, "TimeoutError")

    def test_of_a_body_without_an_end_little_is_read(self) -> None:
        endpoint = make_endpoint(self.receiver("endless").url)
        found = self.sent_test(endpoint)
        began = time.monotonic()
        deliver(endpoint.pk)
        self.assertLess(time.monotonic() - began, 5)
        self.assert_result(found, "delivered", 1, 200)

    def test_one_that_is_not_there_and_one_without_tls_are_named_by_the_error(self) -> None:
        for url, error in (
            (unused_url(), "ConnectionRefusedError"),
            (self.receiver().url.replace("http:", "https:"), "SSLError"),
            ("https://nothing.invalid/", "gaierror"),
        ):
            endpoint = make_endpoint(url)
            found = self.sent_test(endpoint)
            deliver(endpoint.pk)
            self.assert_result(found, "pending", 1, None, error)

    def test_a_certificate_that_nobody_signed_is_refused(self) -> None:
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        receiver = self.enterContext(Receiver(tls=self_signed(directory)[1]))
        endpoint = make_endpoint(receiver.url)
        found = self.sent_test(endpoint)
        deliver(endpoint.pk)
        self.assert_result(found, "pending", 1, None, "SSLCertVerificationError")
        self.assertEqual(receiver.received, [])

    def test_it_is_dead_after_a_day(self) -> None:
        endpoint = make_endpoint(self.receiver(*[503] * 3).url)
        found = self.sent_test(endpoint)
        WebhookDelivery.objects.update(attempts=MAX_ATTEMPTS - 2)
        deliver(endpoint.pk)
        self.assert_result(found, "pending", MAX_ATTEMPTS - 1, 503)
        make_due(found)
        with self.assertLogs("webhooks", "WARNING") as logs:
            deliver(endpoint.pk)
        self.assert_result(found, "dead", MAX_ATTEMPTS, 503)
        self.assertNotIn("127.0.0.1", str(logs.output))
        make_due(found)
        self.assertEqual(deliver(endpoint.pk), 0)
        self.assertEqual(replay(delivery_ids=[found.pk]), 1)
        deliver(endpoint.pk)
        self.assert_result(found, "pending", 1, 503)
        make_due(found)
        deliver(endpoint.pk)
        self.assert_result(found, "delivered", 2, 200)

    def test_pauses_grow_for_a_day_and_are_not_the_same(self) -> None:
        with mock.patch.object(delivery, "JITTER", 0.0):
            pauses = [pause_after(attempts) for attempts in range(1, MAX_ATTEMPTS)]
        self.assertEqual(pauses, sorted(pauses))
        self.assertEqual(pauses[0], 5)
        self.assertTrue(24 <= sum(pauses) / 3600 <= 26, sum(pauses))
        self.assertEqual(len({pause_after(1) for _ in range(20)}), 20)
        self.assertTrue(all(4 <= pause_after(1) <= 6 for _ in range(100)))

    def test_a_claim_that_was_over_stores_no_result(self) -> None:
        """The receiver took longer than the lease, and another process is sending it meanwhile."""
        receiver = self.receiver()
        endpoint = make_endpoint(receiver.url)
        found = self.sent_test(endpoint)
        late = delivery._claim(endpoint.pk)
        self.assertEqual(deliver(endpoint.pk), 0, "it is claimed")
        lease = WebhookDelivery.objects.filter(next_attempt_at__gt=Now() + dt.timedelta(seconds=LEASE_SECONDS - 20))
        self.assertEqual(lease.count(), 1)
        make_due(found)
        current = delivery._claim(endpoint.pk)
        delivery._record(late, [sending.Sent(500)])
        self.assert_result(found, "pending", 2, None)
        delivery._record(current, [sending.Sent(200)])
        self.assert_result(found, "delivered", 2, 200)

    def test_one_that_is_off_waits(self) -> None:
        receiver = self.receiver()
        endpoint = make_endpoint(receiver.url, is_active=False)
        self.sent_test(endpoint)
        self.assertEqual(deliver(endpoint.pk), 0)
        WebhookEndpoint.objects.update(is_active=True)
        self.assertEqual(deliver(endpoint.pk), 1)
        self.assertEqual(len(receiver.received), 1)

    def test_old_deliveries_are_deleted(self) -> None:
        endpoint = make_endpoint()
        old, new = self.sent_test(endpoint), self.sent_test(endpoint)
        with mock.patch.object(delivery.timezone, "now", return_value=timezone.now() + dt.timedelta(days=13)):
            self.assertEqual(prune(), 0)
        with mock.patch.object(delivery.timezone, "now", return_value=timezone.now() + dt.timedelta(days=15)):
            self.assertEqual(prune(), 2)
        self.assertFalse(WebhookDelivery.objects.filter(pk__in=[old.pk, new.pk]).exists())


@tried_on("sqlite")
class AddressTest(WebhookCase):
    """With the networks of production: none but the Internet."""

    def setUp(self) -> None:
        super().setUp()
        self.enterContext(override_settings(WEBHOOK_NETWORKS=[]))
        self.local = self.receiver()
        self.port = int(self.local.url.rpartition(":")[2].partition("/")[0])

    def refused(self, url: str) -> None:
        endpoint = make_endpoint(url)
        found = self.sent_test(endpoint)
        deliver(endpoint.pk)
        found.refresh_from_db()
        self.assertEqual((found.state, found.last_status), ("pending", None))
        # The HTTP client takes no address that is written in an unusual way.
        self.assertIn(found.last_error, ("AddressNotAllowed", "InvalidUrlClientError"))
        self.assertEqual(self.local.received, [])

    def test_private_addresses_are_refused_whatever_they_are_called(self) -> None:
        for host in (
            "127.0.0.1",
            "localhost",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0.0.0.0",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ):
            with self.subTest(host):
                self.refused(f"https://{host}:{self.port}/hooks")
        self.refused(f"http://127.0.0.1:{self.port}/hooks")

    def test_a_name_that_changes_its_address_reaches_nothing(self) -> None:
        """Whatever it was when somebody looked: the address that is connected to is the one that is checked."""
        public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", self.port))]
        private = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", self.port))]
        endpoint = make_endpoint(f"https://rebinding.example.org:{self.port}/hooks")
        with mock.patch("socket.getaddrinfo", side_effect=[public, private, private]) as resolver:
            endpoint.full_clean()
            socket.getaddrinfo("rebinding.example.org", self.port)
            found = self.sent_test(endpoint)
            deliver(endpoint.pk)
        self.assertEqual(resolver.call_count, 2)
        found.refresh_from_db()
        self.assertEqual((found.last_error, self.local.received), ("AddressNotAllowed", []))

    def test_without_tls_only_allowed_networks_are_reached(self) -> None:
        public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80))]
        with mock.patch("socket.getaddrinfo", return_value=public):
            self.refused("http://plain.example.org/hooks")


@tried_on("sqlite")
class ReceiverTest(WebhookCase):
    def test_a_redirect_to_a_private_address_is_not_followed(self) -> None:
        with Receiver() as private, Receiver(answers=[307], redirect_to=private.url) as redirecting:
            endpoint = make_endpoint(redirecting.url)
            self.sent_test(endpoint)
            deliver(endpoint.pk)
            self.assertEqual((len(redirecting.received), len(private.received)), (1, 0))
