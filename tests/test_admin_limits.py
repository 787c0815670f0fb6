"""Staff give groups, users and keys limits in the admin; who may not, does not, and changes hold at once."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from accounts import throttling
from accounts.limits import Override
from accounts.models import GroupOwner, SubjectLimits, User
from accounts.principal import clear_cache, principal_of_key
from accounts.services import register_user
from accounts.subject_limits import OF_ACCOUNT, OF_KEY, groups_owned_by
from chatservice.testing import tried_once, wait_for_minute
from tests.staff import StaffCase, staff

LIMITS = "/admin/accounts/subjectlimits/"
EMPTY = {"starts_per_minute": "", "runs_at_once": "", "tokens_per_minute": "", "reads_per_minute": ""}
EMPTY |= {"models_allowed": "", "search": "unknown"}


def formset(prefix: str, *rows: dict[str, Any], initial: int = 0) -> dict[str, Any]:
    """Return the fields of an inline form with these rows."""
    total = {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": initial}
    fields = {f"{prefix}-{number}-{name}": value for number, row in enumerate(rows) for name, value in row.items()}
    return {**total, **fields}


@tried_once
class AdminLimitsTest(StaffCase):
    def setUp(self) -> None:
        clear_cache()
        self.addCleanup(clear_cache)
        self.group = Group.objects.create(name="interns")
        self.alice.groups.add(self.group)

    def fields_of(self, user: User) -> dict[str, Any]:
        return {
            "username": user.username,
            "is_active": "on",
            "groups": [str(self.group.pk)],
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00",
        }

    @override_settings(KEY_CACHE_SECONDS=60)
    def test_what_is_saved_on_a_users_page_holds_for_its_next_request(self) -> None:
        self.assertIsNone(principal_of_key(self.secret).limits.account.starts_per_minute)
        row = {**EMPTY, "starts_per_minute": "7", "models_allowed": '["echo"]', "search": "false"}
        data = {**self.fields_of(self.alice), **formset("limits", row), **formset("owned_groups")}
        with self.captureOnCommitCallbacks(execute=True):
            response = self.signed_in(self.root).post(f"/admin/accounts/user/{self.alice.pk}/change/", data)
        self.assertEqual(response.status_code, 302, response.content[:2000])
        account = principal_of_key(self.secret).limits.account
        self.assertEqual(account.starts_per_minute, Override(7, OF_ACCOUNT))
        self.assertEqual(account.models_allowed, Override(("echo",), OF_ACCOUNT))
        self.assertEqual(account.search, Override(False, OF_ACCOUNT))
        self.assertIsNone(account.tokens_per_minute)

    def test_a_page_that_is_saved_without_limits_makes_none(self) -> None:
        data = {**self.fields_of(self.alice), **formset("limits", EMPTY), **formset("owned_groups")}
        response = self.signed_in(self.root).post(f"/admin/accounts/user/{self.alice.pk}/change/", data)
        self.assertEqual(response.status_code, 302)
        self.assertFalse(SubjectLimits.objects.exists())

    def test_a_group_gets_limits_and_owners_on_its_page(self) -> None:
        data = {
            "name": "interns",
            **formset("limits", {**EMPTY, "tokens_per_minute": "1000"}),
            **formset("owners", {"user": str(self.dan.pk)}),
        }
        response = self.signed_in(self.root).post(f"/admin/auth/group/{self.group.pk}/change/", data)
        self.assertEqual(response.status_code, 302, response.content[:2000])
        self.assertEqual(SubjectLimits.objects.get().tokens_per_minute, 1000)
        self.assertEqual(list(groups_owned_by(self.dan)), [self.group])

    @override_settings(KEY_CACHE_SECONDS=60)
    def test_a_key_gets_limits_on_their_own_page(self) -> None:
        principal_of_key(self.secret)
        data = {**EMPTY, "group": "", "user": "", "key": str(self.key.pk), "starts_per_minute": "3"}
        with self.captureOnCommitCallbacks(execute=True):
            response = self.signed_in(self.root).post(f"{LIMITS}add/", data)
        self.assertEqual(response.status_code, 302, response.content[:2000])
        self.assertEqual(principal_of_key(self.secret).limits.key.starts_per_minute, Override(3, OF_KEY))

    def test_mistakes_are_told_and_nothing_is_saved(self) -> None:
        made = register_user(username="made", created_by=self.alice)
        client = self.signed_in(self.root)
        for wrong, told in (
            ({}, "Choose one group, one user or one key."),
            ({"user": str(self.alice.pk), "key": str(self.key.pk)}, "Choose one group, one user or one key."),
            ({"user": str(made.pk)}, f"This account shares the limits of {self.alice}."),
            ({"group": str(self.group.pk), "models_allowed": '"echo"'}, "a list of patterns"),
            ({"group": str(self.group.pk), "starts_per_minute": "-1"}, "greater than or equal to 0"),
        ):
            response = client.post(f"{LIMITS}add/", {**EMPTY, "group": "", "user": "", "key": "", **wrong})
            self.assertContains(response, told)
        page = f"/admin/accounts/user/{made.pk}/change/"
        row = {**EMPTY, "starts_per_minute": "7"}
        data = {**self.fields_of(made), **formset("limits", row), **formset("owned_groups")}
        self.assertContains(client.post(page, data), f"This account shares the limits of {self.alice}.")
        self.assertFalse(SubjectLimits.objects.exists())

    def test_whoever_may_change_accounts_may_not_give_limits_or_owners(self) -> None:
        clerk = self.signed_in(staff("clerk", "view", "change_user", "change_group"))
        row = {**EMPTY, "starts_per_minute": "7"}
        for page, data in (
            (f"accounts/user/{self.alice.pk}", {**self.fields_of(self.alice), **formset("limits", row)}),
            (f"auth/group/{self.group.pk}", {"name": "interns", **formset("owners", {"user": str(self.eve.pk)})}),
        ):
            data = {**formset("limits"), **formset("owners"), **formset("owned_groups"), **data}
            self.assertEqual(clerk.post(f"/admin/{page}/change/", data).status_code, 302)
        self.assertEqual(clerk.post(f"{LIMITS}add/", {**EMPTY, "user": str(self.alice.pk)}).status_code, 403)
        self.assertFalse(SubjectLimits.objects.exists() or GroupOwner.objects.exists())

    def test_the_pages_show_what_is_used(self) -> None:
        wait_for_minute()
        SubjectLimits.objects.create(user=self.alice, tokens_per_minute=5_000)
        row = SubjectLimits.objects.create(key=self.key, tokens_per_minute=5_000)
        shared = SubjectLimits.objects.create(group=self.group, tokens_per_minute=5_000)
        for key, amount in ((self.alice.pk.hex, 1_234), (f"{self.alice.pk.hex}:{self.key.pk.hex}", 1_111)):
            with connection.cursor() as cursor:
                throttling.count(cursor, f"tokens:{key}", amount=amount)
        client = self.signed_in(self.dan)
        told = "0 answers started, {} tokens used, 0 other requests, 0 written at the moment"
        for page, used in (
            (f"/admin/accounts/user/{self.alice.pk}/change/", told.format("1,234")),
            (f"{LIMITS}{row.pk}/change/", told.format("1,111")),
            (f"{LIMITS}{shared.pk}/change/", "counted for each member by itself"),
        ):
            self.assertContains(client.get(page), used)

    def test_the_list_costs_as_much_however_many_rows_it_has(self) -> None:
        client = self.signed_in(self.dan)
        SubjectLimits.objects.create(group=self.group, starts_per_minute=1)
        before = self.queries(client)
        for number in range(30):
            SubjectLimits.objects.create(user=register_user(username=f"limited-{number}"), starts_per_minute=number)
        self.assertEqual(self.queries(client), before)
        self.assertContains(client.get(LIMITS), "user limited-29")
        self.assertContains(client.get(f"{LIMITS}?q=inter"), "group interns")
        self.assertNotContains(client.get(f"{LIMITS}?subject=key"), "group interns")

    def queries(self, client: Client) -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(LIMITS)
        return len(captured)
