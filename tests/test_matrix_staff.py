"""The admin site's answer to each kind of staff: every page has a row, and none shows private content unasked."""

from __future__ import annotations

import re

from accounts.models import AccountErasure, SubjectLimits
from accounts.services import register_user
from chatservice.testing import tried_once
from feedback.models import Feedback
from files.public_ids import public_id
from foundation.ids import uuid7
from tests.matrix import staff as matrix
from tests.matrix.operations import routes
from tests.matrix.subjects import link_to
from tests.staff import CANARY, StaffCase, staff
from usage.models import Budget, BudgetUse, ModelPrice
from webhooks.models import WebhookDelivery, WebhookEndpoint


@tried_once
class StaffMatrixTest(StaffCase):
    def address(self, route: str) -> str:
        model = route.rsplit("/", 3)[0] if matrix.OBJECT in route else ""
        things = {
            "accounts/user": self.alice,
            "accounts/apikey": self.key,
            "accounts/accounterasure": self.erasure,
            "accounts/subjectlimits": self.limits,
            "conversations/conversation": self.talk,
            "conversations/accesslogentry": self.entry,
            "completions/run": self.stored_run,
            "files/file": self.file,
            "feedback/feedback": self.feedback,
            "sharing/sharedlink": self.link,
            "usage/modelprice": self.price,
            "usage/budgetuse": self.use,
            "usage/budget": self.budget,
            "webhooks/webhookendpoint": self.endpoint,
            "webhooks/webhookdelivery": self.delivery,
        }
        for name, thing in things.items():
            if route.startswith(f"{name}/{matrix.OBJECT}"):
                return route.replace(matrix.OBJECT, str(thing.pk))
        if route.startswith("auth/group/") and model is not None:
            return route.replace(matrix.OBJECT, str(self.group.pk))
        route = route.replace("<uuid:conversation_id>", str(self.talk.pk))
        route = route.replace("<str:file_id>", public_id(self.file.pk))
        route = route.replace("<id>", str(self.alice.pk)).replace("<path:content_type_id>/<path:object_id>", "999999/1")
        return "accounts/" if route.startswith("^") else re.sub(r"\(\?P<url>.*", "nothing-here/", route)

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        from django.contrib.auth.models import Group

        cls.group = Group.objects.create(name="Support")
        cls.budget = Budget.objects.create(name="Support", group=cls.group, max_tokens=1_000)
        cls.use = BudgetUse.objects.create(id=uuid7(), budget=cls.budget, start="2026-11-01")
        cls.feedback = Feedback.objects.create(message=cls.answer, user=cls.alice, rating="down", comment=CANARY)
        cls.link = link_to(cls.answer)
        cls.price = ModelPrice.objects.create(model="gpt-4o", currency="USD", input=2, output=10)
        cls.erasure = AccountErasure.objects.create(user=register_user(username="leaving"))
        cls.limits = SubjectLimits.objects.create(key=cls.key, starts_per_minute=5)
        cls.endpoint = WebhookEndpoint.objects.create(url="https://hooks.example.org/")
        cls.delivery = WebhookDelivery.objects.create(endpoint=cls.endpoint, event_id=uuid7(), data={"id": "resp_1"})

    def test_every_page_has_a_row_and_no_row_is_of_nothing(self) -> None:
        found = {path.removeprefix("/admin/") for path, _ in routes() if path.startswith("/admin/")}
        self.assertEqual(found, set(matrix.rows()))

    def test_each_answers_as_declared_and_shows_nothing_private(self) -> None:
        subjects = {"clerk": self.eve, "viewer": self.dan, "reader": self.carol, "root": self.root}
        for place, name in enumerate(matrix.SUBJECTS):
            client = self.signed_in(subjects[name])
            may_see_titles = name in ("reader", "root")
            for route, statuses in matrix.rows().items():
                with self.subTest(f"{name}: {route}"):
                    address = f"/admin/{self.address(route)}"
                    response = client.get(address)
                    self.assertEqual(response.status_code, statuses[place], response.content[:300])
                    shown = response.content.decode()
                    if may_see_titles:  # titles are visible, messages are not yet
                        shown = shown.replace(self.talk.title, "")
                    self.assertNotIn(CANARY, shown)
                    self.assertNotIn(self.key.digest, shown)
                    self.assertNotIn(self.link.digest, shown)
                    self.assertNotIn(self.link.token, shown)
                    self.assertIn("script-src 'self'", response.headers["Content-Security-Policy"])
                    self.assertNotIn("unsafe-inline", response.headers["Content-Security-Policy"])
                    self.assertIsNone(re.search(r"<script(?![^>]* src=)(?![^>]* type=\"application/json)", shown))
                    self.assertIsNone(re.search(r"<[^>]+ (on[a-z]+|style)=", shown))

    def test_a_title_is_on_no_page_of_those_who_may_not_read_whatever_else_they_may(self) -> None:
        client = self.signed_in(staff("manager", "view", "change_conversation", "delete_conversation"))
        base = f"/admin/conversations/conversation/{self.talk.pk}/"
        for address in ("/admin/conversations/conversation/", f"{base}change/", f"{base}history/", f"{base}delete/"):
            response = client.get(address)
            self.assertContains(response, str(self.talk.pk))
            self.assertNotContains(response, CANARY)

    def test_nobody_changes_history_by_posting(self) -> None:
        before = (self.snapshot(), self.entry.reason)
        for user in (self.eve, self.dan, self.carol, self.root):
            client = self.signed_in(user)
            for address in (
                self.page_of_talk,
                f"/admin/completions/run/{self.stored_run.pk}/change/",
                f"/admin/conversations/accesslogentry/{self.entry.pk}/change/",
                f"/admin/conversations/accesslogentry/{self.entry.pk}/delete/",
                f"/admin/accounts/apikey/{self.key.pk}/change/",
                f"/admin/feedback/feedback/{self.feedback.pk}/change/",
                f"/admin/sharing/sharedlink/{self.link.pk}/change/",
                f"/admin/sharing/sharedlink/{self.link.pk}/delete/",
            ):
                with self.subTest(f"{user.username}: {address}"):
                    response = client.post(address, {"title": "x", "reason": "x", "state": "complete", "post": "yes"})
                    self.assertIn(response.status_code, (200, 403))
        for action in ("delete_selected", "archive", "unarchive", "export_selected"):
            for user in (self.eve, self.dan):
                client = self.signed_in(user)
                form = {"action": action, "_selected_action": str(self.talk.pk), "post": "yes", "format": "jsonl"}
                response = client.post("/admin/conversations/conversation/", form)
                self.assertNotIn(CANARY, response.content.decode())
        self.entry.refresh_from_db()
        self.assertEqual((self.snapshot(), self.entry.reason), before)
        self.assertEqual(self.new_entries(), [])

    def snapshot(self) -> tuple:
        self.talk.refresh_from_db()
        self.stored_run.refresh_from_db()
        self.key.refresh_from_db()
        return (self.talk.title, self.talk.archived_at, self.stored_run.state, self.key.revoked_at)

    def test_who_is_not_staff_is_sent_to_sign_in(self) -> None:
        client = self.signed_in(self.alice)
        for route in matrix.rows():
            if route not in ("login/", "logout/", "jsi18n/"):
                response = client.get(f"/admin/{self.address(route)}")
                self.assertEqual(response.status_code, 302, route)
                self.assertIn("/admin/login/", response.headers["location"])
