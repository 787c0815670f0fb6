"""Pages of the admin lead to each other, as far as permissions go; keys are made, rotated and revoked there."""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.test import override_settings
from django.utils import timezone

from accounts.models import ApiKey, GroupOwner
from accounts.services import deactivate_users, issue_api_key
from chatservice.testing import tried_once
from conversations.models import AccessLogEntry
from tests.staff import CANARY, LIST, REASON, StaffCase, staff
from tests.test_admin_reading import FewQueries
from usage.models import DailyUsage
from usage.periods import day_of

RUNS, KEYS, LOG = "/admin/completions/run/", "/admin/accounts/apikey/", "/admin/conversations/accesslogentry/"


def of_user(user: Any, page: str = "change") -> str:
    return f"/admin/accounts/user/{user.pk}/{page}/"


@tried_once
class LinkTest(StaffCase):
    def setUp(self) -> None:
        self.stored_run.api_key_id = self.key.pk
        self.stored_run.save(update_fields=["api_key_id"])

    def test_a_users_page_leads_to_everything_of_the_user_and_back(self) -> None:
        client = self.signed_in(self.dan)
        key = f"{KEYS}{self.key.pk}/change/"
        page = client.get(of_user(self.alice)).content.decode()
        for address in (
            *(self.page_of_talk, f"{LIST}?owner={self.alice.username}"),
            *(f"{RUNS}{self.stored_run.pk}/change/", f"{RUNS}?user={self.alice.username}"),
            *(key, f"{KEYS}?owner={self.alice.username}"),
            *(f"{LOG}{self.entry.pk}/change/", f"{LOG}?q={self.alice.pk}"),
            f"/admin/dashboard/usage/?user={self.alice.username}&amp;by=day",
        ):
            self.assertIn(f'href="{address}"', page)
            shown = client.get(address.replace("&amp;", "&"))
            self.assertEqual(shown.status_code, 200, address)
            self.assertContains(shown, f'href="{of_user(self.alice)}"', msg_prefix=address)
        self.assertIn(
            'name="limits-0-starts_per_minute"', self.signed_in(self.root).get(of_user(self.alice)).content.decode()
        )
        self.assertNotIn(CANARY, page)
        self.assertEqual(self.new_entries(), [])
        self.assertIn("0 requests in 30 days", page)
        amounts = {"requests": 1_200, "failed": 3, "input_tokens": 40, "output_tokens": 2, "cost": 1_500_000}
        for model in ("m", "n"):
            used = {"user": self.alice, "day": day_of(timezone.now()), "model": model, "upstream": "x"}
            DailyUsage.objects.create(id=uuid.uuid4(), **used, **amounts)
        for permission in ("view", "view_dailyusage"):  # beside other lists, and alone
            shown = self.signed_in(staff("usage", "view_user", permission)).get(of_user(self.alice))
            self.assertContains(shown, "2,400 requests in 30 days, 6 of them failed; 84 tokens; 3 USD")

    def test_a_run_and_a_key_lead_to_each_other(self) -> None:
        client = self.signed_in(self.dan)
        run, key = f"{RUNS}{self.stored_run.pk}/change/", f"{KEYS}{self.key.pk}/change/"
        self.assertContains(client.get(run), f'href="{key}"')
        self.assertContains(client.get(run), f'href="{self.page_of_talk}"')
        self.assertContains(client.get(run), f"{self.page_of_talk}?message={self.answer.pk}#m-{self.answer.pk}")
        runs_of_key = f"{RUNS}?key=cb_{self.key.kid}"
        self.assertContains(client.get(key), runs_of_key)
        self.assertContains(client.get(runs_of_key), run)
        other, _ = issue_api_key(user=self.alice)
        self.assertNotContains(client.get(f"{RUNS}?key=cb_{other.kid}"), run)

    def test_only_what_is_open_is_a_link_or_shown(self) -> None:
        narrow = staff("narrow", "view_user", "view_run")
        page = self.signed_in(narrow).get(of_user(self.alice)).content.decode()
        self.assertIn(f'href="{RUNS}{self.stored_run.pk}/change/"', page)
        for closed in (LIST, KEYS, LOG, "usage/"):
            self.assertNotIn(f'href="{closed}', page)
        for closed in ("Access log", self.key.kid, "Issue a key"):
            self.assertNotIn(closed, page)
        blind = staff("blind", "view_run", "view_accesslogentry")
        for address in (f"{RUNS}{self.stored_run.pk}/change/", RUNS, LOG, f"{LOG}{self.entry.pk}/change/"):
            shown = self.signed_in(blind).get(address).content.decode()
            self.assertNotIn(f'href="{of_user(self.alice)}"', shown)
            self.assertNotIn(f'href="{self.page_of_talk}"', shown)

    def test_a_users_page_takes_few_queries_for_whoever_looks(self) -> None:
        self.alice.created_by = self.root
        self.alice.save()
        for number in range(4):
            group = Group.objects.create(name=f"Group {number} of {self.alice.username}")
            GroupOwner.objects.create(group=group, user=self.alice)
            self.alice.groups.add(group)
        for user in (self.root, self.dan, staff("manager", "view", "change_user", "change_subjectlimits")):
            client = self.signed_in(user)
            ContentType.objects.clear_cache()  # as in a process that has just begun
            with self.assertNumQueries(FewQueries()):
                self.assertContains(client.get(of_user(self.alice)), "30 days")


@tried_once
class KeyPageTest(StaffCase):
    FORM = {"name": "CI", "days": "30", "scopes": ["read", "generate"], "networks": "192.0.2.0/24", "reason": REASON}

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.keeper = staff("keeper", "view", "add_apikey", "change_apikey", "read_content")

    def test_a_key_is_issued_for_a_user_shown_once_and_told_to_the_user(self) -> None:
        client = self.signed_in(self.keeper)
        page = of_user(self.alice, "issue-key")
        self.assertContains(client.get(of_user(self.alice)), page)
        self.assertContains(client.get(page), "Why do you need")
        for name, wrong in (("reason", "no"), ("scopes", []), ("days", "0"), ("networks", "192.0.2.7/24")):
            self.assertNotContains(client.post(page, {**self.FORM, name: wrong}), "cb_")
        self.assertEqual((ApiKey.objects.filter(user=self.alice).count(), self.new_entries()), (1, []))
        made = client.post(page, self.FORM)
        key = ApiKey.objects.get(user=self.alice, name="CI")
        [text] = re.findall(r"<code>(cb_\w+)</code>", made.content.decode())
        self.assertTrue(text.startswith(f"cb_{key.kid}_"))
        self.assertEqual((key.scopes, key.networks), (["read", "generate"], ["192.0.2.0/24"]))
        self.assertFalse(key.may_change_credentials)
        [entry] = self.new_entries()
        told = (entry.kind, entry.reader_name, entry.owner_id, entry.reason)
        self.assertEqual(told, ("key", self.keeper.username, self.alice.pk, REASON))
        self.assertNotContains(client.get(f"{KEYS}{key.pk}/change/"), text)
        self.assertFalse(LogEntry.objects.filter(change_message__contains=text).exists())

    def test_a_keys_page_revokes_after_a_confirmation(self) -> None:
        client = self.signed_in(self.keeper)
        page = f"{KEYS}{self.key.pk}/revoke/"
        self.assertContains(client.get(f"{KEYS}{self.key.pk}/change/"), page)
        self.assertContains(client.get(page), "Yes, revoke it")
        self.assertTrue(ApiKey.objects.usable().filter(pk=self.key.pk).exists())
        self.assertContains(client.post(page, follow=True), "was revoked")
        self.assertFalse(ApiKey.objects.usable().filter(pk=self.key.pk).exists())
        self.assertNotContains(client.get(f"{KEYS}{self.key.pk}/change/"), page)

    def test_a_keys_page_rotates_once_and_shows_the_successor(self) -> None:
        client = self.signed_in(self.keeper)
        page = f"{KEYS}{self.key.pk}/rotate/"
        self.assertContains(client.get(f"{KEYS}{self.key.pk}/change/"), page)
        made = client.post(page, {"overlap_hours": "1", "reason": REASON})
        new = ApiKey.objects.get(replaces=self.key)
        self.assertContains(made, f"cb_{new.kid}_")
        self.assertContains(made, "keeps working until")
        again = client.post(page, {"overlap_hours": "1", "reason": REASON})
        self.assertContains(again, "was rotated already")
        self.assertEqual([entry.kind for entry in self.new_entries()], ["key"])

    def test_without_the_content_permission_nobody_gets_a_key_that_reads(self) -> None:
        blind = staff("blind", "view", "add_apikey", "change_apikey")
        client = self.signed_in(blind)
        pages = (of_user(self.alice, "issue-key"), f"{KEYS}{self.key.pk}/rotate/")
        for page, form in zip(pages, (self.FORM, {"overlap_hours": "1", "reason": REASON}), strict=True):
            self.assertEqual(client.post(page, form).status_code, 403)
            self.assertNotContains(client.get(page.replace("rotate", "change").replace("issue-key", "change")), page)
            with override_settings(STAFF_CONTENT_ACCESS=False):
                self.assertEqual(self.signed_in(self.root).post(page, form).status_code, 403)
        self.assertEqual(ApiKey.objects.filter(user=self.alice).count(), 1)
        self.assertEqual(self.signed_in(self.dan).post(f"{KEYS}{self.key.pk}/revoke/").status_code, 403)

    def test_staff_get_no_keys_of_superusers_and_none_of_closed_accounts(self) -> None:
        key, _ = issue_api_key(user=self.root)
        client = self.signed_in(self.keeper)
        for page in (of_user(self.root, "issue-key"), f"{KEYS}{key.pk}/rotate/", f"{KEYS}{key.pk}/revoke/"):
            self.assertEqual(client.post(page, {**self.FORM, "overlap_hours": "0"}).status_code, 403, page)
        deactivate_users(users=[self.alice])
        self.assertEqual(client.post(of_user(self.alice, "issue-key"), self.FORM).status_code, 404)
        self.assertFalse(AccessLogEntry.objects.filter(kind="key").exists())
