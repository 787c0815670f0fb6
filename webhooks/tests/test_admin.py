"""Staff make endpoints, see a secret once, rotate it, and send dead deliveries again; others do nothing here."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from webhooks.endpoints import subscriptions
from webhooks.models import WebhookDelivery, WebhookEndpoint
from webhooks.signing import secret_of
from webhooks.tests.case import WebhookCase, make_endpoint

ENDPOINTS, DELIVERIES = "/admin/webhooks/webhookendpoint/", "/admin/webhooks/webhookdelivery/"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")


class AdminTest(WebhookCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = User.objects.create_superuser(username="root", password=None)
        self.client = self.signed_in(self.root)

    def signed_in(self, user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    def clerk(self, *permissions: str) -> Client:
        clerk = User.objects.create_user(username=f"clerk{User.objects.count()}", is_staff=True)
        clerk.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
        return self.signed_in(clerk)

    def form(self, **values: Any) -> dict[str, Any]:
        fields = {"url": "https://hooks.example.org/", "event_types": ["response.completed"], "is_active": "on"}
        return {**fields, **values}

    def act(self, client: Client, place: str, action: str, *things: Any) -> Any:
        return client.post(
            place, {"action": action, "_selected_action": [str(each.pk) for each in things]}, follow=True
        )

    def test_the_secret_is_shown_once_and_kept_nowhere(self) -> None:
        response = self.client.post(f"{ENDPOINTS}add/", self.form())
        endpoint = WebhookEndpoint.objects.get()
        [shown] = SECRET.findall(response.content.decode())
        self.assertEqual(shown, secret_of(endpoint))
        self.assertIn("no-store", response.headers["Cache-Control"])
        for place in (ENDPOINTS, f"{ENDPOINTS}{endpoint.pk}/change/", f"{ENDPOINTS}{endpoint.pk}/history/"):
            self.assertNotContains(self.client.get(place), "whsec_")
        self.assertNotIn(shown, str(list(WebhookEndpoint.objects.values())))
        self.assertFalse(any(shown in str(each.get_decoded()) for each in Session.objects.all()))
        self.assertEqual(len(subscriptions()), 1)

    def test_an_address_inside_is_refused_in_the_form(self) -> None:
        with self.settings(WEBHOOK_NETWORKS=[]):
            for url in ("https://10.0.0.1/", "http://hooks.example.org/", "https://169.254.169.254/latest"):
                response = self.client.post(f"{ENDPOINTS}add/", self.form(url=url))
                self.assertContains(response, "Only https:// on the public Internet")
        self.assertContains(
            self.client.post(f"{ENDPOINTS}add/", self.form(event_types=["webhook.test"])), "valid choice"
        )
        self.assertEqual(WebhookEndpoint.objects.count(), 0)

    def test_a_rotation_shows_the_new_secret_and_keeps_the_former_for_a_day(self) -> None:
        endpoint = make_endpoint()
        before = secret_of(endpoint)
        response = self.act(self.client, ENDPOINTS, "rotate", endpoint)
        endpoint.refresh_from_db()
        self.assertEqual(SECRET.findall(response.content.decode()), [secret_of(endpoint)])
        self.assertNotEqual(secret_of(endpoint), before)
        self.assertEqual(secret_of(endpoint, before=1), before)
        self.assertIsNotNone(endpoint.previous_secret_until)
        self.assertContains(self.client.get(ENDPOINTS), endpoint.url)

    def test_an_endpoint_can_be_changed_tested_and_deleted(self) -> None:
        endpoint = make_endpoint()
        subscriptions()
        self.act(self.client, ENDPOINTS, "test", endpoint)
        [found] = WebhookDelivery.objects.all()
        self.assertEqual((found.event_type, found.data), ("webhook.test", {"id": str(endpoint.pk)}))
        with self.captureOnCommitCallbacks(execute=True):
            self.client.post(f"{ENDPOINTS}{endpoint.pk}/change/", self.form(event_types=["import.finished"]))
        self.assertEqual(subscriptions()[0].event_types, {"import.finished"})
        with self.captureOnCommitCallbacks(execute=True):
            self.client.post(f"{ENDPOINTS}{endpoint.pk}/delete/", {"post": "yes"})
        self.assertEqual((subscriptions(), WebhookDelivery.objects.count()), ((), 0))

    def test_dead_ones_are_found_and_sent_again(self) -> None:
        endpoint = make_endpoint()
        dead, waiting = self.sent_test(endpoint), self.sent_test(endpoint)
        WebhookDelivery.objects.filter(pk=dead.pk).update(state="dead", attempts=14, last_error="TimeoutError")
        response = self.client.get(f"{DELIVERIES}?state__exact=dead")
        self.assertContains(response, "TimeoutError")
        self.assertNotContains(response, str(waiting.pk))
        for _ in range(3):
            make_endpoint()
        with CaptureQueriesContext(connection) as statements:
            page = self.client.get(ENDPOINTS).content.decode()
        self.assertLessEqual(len([each for each in statements if "webhooks_webhookdelivery" in each["sql"]]), 2)
        self.assertIn('<td class="field-waiting">1</td><td class="field-given_up">1</td>', page)
        self.assertIn('<td class="field-waiting">0</td><td class="field-given_up">0</td>', page)
        self.assertContains(self.act(self.client, DELIVERIES, "replay", dead, waiting), "1 deliveries are sent again")
        dead.refresh_from_db()
        self.assertEqual((dead.state, dead.attempts), ("pending", 0))

    def test_who_may_only_view_does_nothing(self) -> None:
        endpoint = make_endpoint()
        dead = self.sent_test(endpoint)
        WebhookDelivery.objects.update(state="dead")
        viewer = self.clerk("view_webhookendpoint", "view_webhookdelivery")
        for place in (ENDPOINTS, DELIVERIES, f"{ENDPOINTS}{endpoint.pk}/change/", f"{DELIVERIES}{dead.pk}/change/"):
            self.assertEqual(viewer.get(place).status_code, 200)
        for client in (viewer, self.clerk()):
            self.act(client, ENDPOINTS, "rotate", endpoint)
            self.act(client, ENDPOINTS, "test", endpoint)
            self.act(client, DELIVERIES, "replay", dead)
            self.assertEqual(client.post(f"{ENDPOINTS}add/", self.form()).status_code, 403)
        self.assertEqual(WebhookEndpoint.objects.get().secret_number, 1)
        self.assertEqual(WebhookDelivery.objects.get().state, "dead")
