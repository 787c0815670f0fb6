"""Staff stop the runs of accounts: with permission, after a confirmation, and only for accounts with lower rights."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.models import User
from accounts.services import register_user
from chatservice.testing import tried_once
from completions.models import Run
from tests.staff import StaffCase, staff

LIST = "/admin/accounts/user/"


@tried_once
class AdminStoppingTest(StaffCase):
    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.manager = staff("manager", "view_user", "change_user")
        cls.child = register_user(username=f"child-{cls.alice.pk.hex[:12]}", created_by=cls.alice)
        cls.running = Run.objects.create(user=cls.child, upstream="echo", model="echo", worker="none", lease_until=0)

    def act(self, client: Client, *users: User, **form: str) -> Any:
        chosen = {"action": "deactivate", ACTION_CHECKBOX_NAME: [str(user.pk) for user in users]}
        return client.post(LIST, {**chosen, **form})

    def active(self, *users: User) -> list[bool]:
        return [User.objects.get(pk=user.pk).is_active for user in users]

    def test_the_bulk_action_asks_first_and_names_everybody_whom_it_reaches(self) -> None:
        client = self.signed_in(self.manager)
        page = self.act(client, self.alice)
        self.assertContains(page, self.child.username)
        self.assertContains(page, "within a second")
        self.assertEqual(self.active(self.alice, self.child), [True, True])
        Client().force_login(self.alice)
        sessions = Session.objects.count()
        done = self.act(client, self.alice, post="yes")
        self.assertEqual(done.status_code, 302)
        self.assertEqual(self.active(self.alice, self.child, self.carol), [False, False, True])
        self.assertEqual(Session.objects.count(), sessions - 1)
        self.running.refresh_from_db()
        self.assertIsNotNone(self.running.cancel_requested_at)
        noted = LogEntry.objects.filter(user=self.manager, object_id__in=[str(self.alice.pk), str(self.child.pk)])
        self.assertEqual({entry.change_message for entry in noted}, {"Deactivated, and stopped all activity"})

    def test_it_needs_the_permission_to_change_accounts(self) -> None:
        for user in (self.eve, self.dan, self.carol):
            client = self.signed_in(user)
            self.act(client, self.alice, post="yes")
            self.assertEqual(client.post(f"{LIST}{self.alice.pk}/stop/").status_code, 403)
        self.assertEqual(self.active(self.alice), [True])
        self.assertIsNone(User.objects.get(pk=self.alice.pk).stopped_at)

    def test_nobody_reaches_superusers_that_way_nor_themselves(self) -> None:
        client = self.signed_in(self.manager)
        self.assertEqual(self.act(client, self.root, post="yes").status_code, 403)
        self.assertEqual(client.post(f"{LIST}{self.root.pk}/stop/").status_code, 403)
        self.act(client, self.manager, post="yes")
        self.assertEqual(self.active(self.root, self.manager), [True, True])

    def test_one_user_is_stopped_from_their_page_after_a_confirmation(self) -> None:
        client = self.signed_in(self.manager)
        address = f"{LIST}{self.child.pk}/stop/"
        self.assertContains(client.get(f"{LIST}{self.child.pk}/change/"), address)
        self.assertContains(client.get(address), "stays active")
        self.running.refresh_from_db()
        self.assertIsNone(self.running.cancel_requested_at)
        self.assertRedirects(client.post(address), f"{LIST}{self.child.pk}/change/")
        self.running.refresh_from_db()
        self.assertIsNotNone(self.running.cancel_requested_at)
        self.assertEqual(self.active(self.child), [True])
        self.assertEqual(client.get(f"{LIST}{self.talk.pk}/stop/").status_code, 302)  # no such user

    def test_taking_the_check_mark_away_is_deactivating_too(self) -> None:
        client = self.signed_in(self.root)
        form = {"username": self.alice.username, "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
        inlines = {f"{name}-{kind}_FORMS": 0 for name in ("limits", "owned_groups") for kind in ("TOTAL", "INITIAL")}
        response = client.post(f"{LIST}{self.alice.pk}/change/", {**form, **inlines})
        self.assertEqual(response.status_code, 302, response.content[:2000])
        self.assertEqual(self.active(self.alice, self.child), [False, False])

    def test_who_made_an_account_is_shown_and_filtered_by(self) -> None:
        client = self.signed_in(self.manager)
        listed = client.get(LIST, {"created_by": self.alice.username.upper()})
        self.assertContains(listed, self.child.username)
        self.assertNotContains(listed, self.carol.username)
        self.assertNotContains(client.get(LIST, {"created_by": "nobody"}), self.child.username)

    def test_a_name_that_looks_like_another_is_refused_in_the_form_and_not_by_an_error(self) -> None:
        client = self.signed_in(self.root)
        lookalike = f"а{self.alice.username[1:]}"  # the name begins with a Cyrillic letter
        form = {"username": lookalike, "usable_password": "false", "password1": "", "password2": ""}
        response = client.post(f"{LIST}add/", form)
        self.assertContains(response, "not available")
