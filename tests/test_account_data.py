"""An export contains all of an account's own data; erasing removes all of it, even during concurrent writes."""

from __future__ import annotations

import base64
import json
import os
import threading
import uuid
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import QuerySet
from django.test import Client, TestCase

from accounts import personal_data, throttling
from accounts.models import ApiKey, GroupOwner, RateWindow, SubjectLimits, User
from accounts.personal_data import export_account, registered
from accounts.services import register_user
from chatservice.testing import ApiUser, ServiceTestCase, fake_upstream, needs_dialect, wait_until
from completions.models import Chunk, IdempotencyKey, Run
from completions.run_metadata import replace_metadata
from conversations.access_log import record_access
from conversations.models import AccessLogEntry, Conversation, Message, StoredUsage
from conversations.quota import fold
from conversations.services import append_message, start_conversation, update_conversation
from conversations.todos import create_todo
from feedback.models import Feedback
from files.models import File, FileText
from files.services import store_file
from foundation.database import database_clock
from imports.models import HistoryImport
from tests.database_text import places_of
from tests.matrix.subjects import link_to
from usage.models import Budget

ME = "/v1/chat/me"
# Models whose rows have no owner. Add a new model here, with the reason, or register its owner.
NOBODYS = {
    "contenttypes.contenttype": "a list of the models",
    "auth.permission": "a list of what may be done",
    "auth.group": "a role that staff made, not who has it",
    "auth.group_permissions": "what a role may do",
    # The index is derived from messages, contains nothing else, and is deleted with them.
    **dict.fromkeys(("search.indexpartition", "search.entry", "search.passage", "search.pendingmessage"), "derived"),
    "accounts.accounterasure": "that an account is being erased, until it is",
    "accounts.secretfingerprint": "which secrets the service runs with",
    "search.searchtiming": "how long searches took, a day at a time; not whose",
    "socialaccount.socialapp": "empty: the OpenID provider is in the settings",
    "files.contentchange": "content that is being written or deleted at the moment, for an hour at most",
    "usage.modelprice": "what models cost",
    # Whose budget it is, is only told by ids, and goes with the account.
    **dict.fromkeys(("usage.budgetuse", "usage.reservation"), "how much of a budget is taken"),
    "usage.monthlyusage": "sums of usage.dailyusage, which is exported; whose they were is deleted with the account",
    "search.embedder": "a list of the models that made vectors",
    "webhooks.webhookendpoint": "addresses that staff entered",
    "webhooks.webhookdelivery": "ids for two weeks; those that name an account are deleted with it",
}
# The log that nobody may change: for an erased account it keeps the id, which then refers to nobody.
PSEUDONYMOUS = {AccessLogEntry._meta.db_table}
ROUNDS = int(os.environ.get("ERASE_ROUNDS", "4"))
PASSWORD = "correct horse battery staple"


def setUpModule() -> None:
    needs_dialect("chat_v1")


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


class RegistryTest(TestCase):
    def test_every_model_says_whose_its_rows_are(self):
        known = {personal.model._meta.label_lower for personal in registered()}
        models = {model._meta.label_lower for model in apps.get_models(include_auto_created=True)}
        unknown = models - known - set(NOBODYS)
        self.assertFalse(unknown, "register() them in their app's personal_data.py, or name them in NOBODYS")
        self.assertFalse(known & set(NOBODYS))

    def test_what_is_secret_is_a_field(self):
        for personal in registered():
            self.assertLessEqual(personal.secret, {field.name for field in personal.model._meta.fields})

    def test_an_export_is_read_page_by_page_and_has_nobody_elses(self):
        self.addCleanup(setattr, personal_data, "ROWS", personal_data.ROWS)
        personal_data.ROWS = 2
        alice, bob = register_user(username="alice"), register_user(username="bob")
        for owner in (alice, bob):
            talk = start_conversation(owner_id=owner.pk)
            for number in range(7):
                append_message(conversation=talk, role="user", content=f"{owner.username} {number}")
        said = [each["row"]["content"] for each in map(json.loads, export_account(alice)) if "content" in each["row"]]
        self.assertEqual(sorted(said), sorted(f"alice {number}" for number in range(7)))

    def test_counters_of_an_hour_ago_say_nothing_any_more(self):
        throttling.hit("reads:x", limit=5)
        throttling.hit("made:x", limit=5, window=3600)
        two_hours_ago = f"({database_clock()} - 2 * 3600)"
        with mock.patch.object(throttling, "database_clock", return_value=two_hours_ago):
            throttling.hit("reads:old", limit=5)
            throttling.hit("made:old", limit=5, window=3600)
        self.assertEqual(throttling.forget_old(), 2)
        self.assertEqual(set(RateWindow.objects.values_list("key", flat=True)), {"reads:x", "made:x"})


class AccountCase(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.canary = f"CANARY{uuid.uuid4().hex}"

    def canary_user(self) -> ApiUser:
        """Create a user with data in every model."""
        owner = self.api_user(self.canary)
        user = owner.user
        user.set_password(PASSWORD)
        user.email, user.first_name = f"{self.canary}@example.org", self.canary
        user.default_generation = {"instructions": f"Speak of {self.canary}"}
        user.save()
        ApiKey.objects.filter(user=user).update(name=self.canary)
        said = {"content": f"Say {self.canary}", "title": self.canary, "metadata": {"about": self.canary}}
        key = {"Idempotency-Key": self.canary}
        asked = owner.http.post("/v1/chat/conversations/stream", json=said, headers=key)
        self.assertIn("[DONE]", asked.text)
        talk = Conversation.objects.get(owner=user)
        replace_metadata(run=Run.objects.get(user=user), metadata={"about": self.canary})
        append_message(conversation=talk, role="tool", content=self.canary, extras={"tool_call_id": self.canary})
        update_conversation(conversation=talk, tags=[self.canary])
        create_todo(owner_id=user.pk, title=self.canary, conversation=talk)
        answer = Message.objects.of(talk.pk).answers().get()
        Feedback.objects.create(message=answer, user=user, rating=Feedback.Rating.DOWN, comment=self.canary)
        link_to(answer)
        told = ContentFile(f"A file about {self.canary}".encode())
        file = store_file(owner_id=user.pk, content=told, name=f"{self.canary}.txt", purpose="user_data")
        HistoryImport.objects.create(owner=user, file_id=file.pk, file_name=file.name, state="finished")
        kind, reason = AccessLogEntry.Kind.TRANSCRIPT, f"About {self.canary}"
        record_access(reader=self.carol.user, kind=kind, reason=reason, conversation=talk)
        Client().force_login(user)
        Client().post("/login", {"username": user.username, "password": "wrong"})
        for actor, thing in ((user, self.bob.user), (self.carol.user, user), (self.carol.user, talk)):
            about = ContentType.objects.get_for_model(thing)
            names = {"object_repr": self.canary, "change_message": self.canary, "content_type": about}
            LogEntry.objects.create(user=actor, object_id=str(thing.pk), action_flag=CHANGE, **names)
        Budget.objects.create(name=self.canary, user=user, max_tokens=1_000_000)
        identity = SocialAccount.objects.create(
            user=user, provider="https://id.example", uid=self.canary, extra_data={"name": self.canary}
        )
        SocialToken.objects.create(account=identity, token=self.canary)
        Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": self.canary})
        address = EmailAddress.objects.create(user=user, email=f"{self.canary.lower()}@example.org")
        EmailConfirmation.objects.create(email_address=address, key=self.canary)
        group, _ = Group.objects.get_or_create(name="Readers")
        user.groups.add(group)
        GroupOwner.objects.create(group=group, user=user)
        SubjectLimits.objects.create(user=user, starts_per_minute=0)
        self.addCleanup(SubjectLimits.objects.filter(user_id=user.pk).delete)
        user.user_permissions.add(Permission.objects.order_by("pk")[0])
        return owner

    def confirm(self, api_user: ApiUser, **body: Any) -> httpx2.Response:
        return api_user.http.request("DELETE", ME, json=body)


class ExportTest(AccountCase):
    def test_it_has_every_row_of_every_model(self):
        owner = self.canary_user()
        self.bob.http.post("/v1/chat/conversations/stream", json={"content": "Bob's own"})
        self.wait_for_one_usage(owner.user)
        response = owner.http.get(f"{ME}/export")
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response.headers["content-type"], "application/x-ndjson")
        rows = rows_of(response.text)
        told = Counter(each["model"] for each in rows if "row" in each)
        stored = {
            personal.model._meta.label_lower: sum(1 for _ in personal.rows_of(owner.user)) for personal in registered()
        }
        self.assertEqual(told, stored)
        self.assertEqual([name for name, count in stored.items() if not count], [], "the canary user has none of these")
        counted = {
            "accounts.user": 1,
            "completions.chunk": Chunk.objects.filter(run__user=owner.user).count(),
            "completions.idempotencykey": IdempotencyKey.objects.filter(key=self.canary).count(),
            "conversations.message": Message.objects.filter(content__contains=self.canary).count(),
            "sessions.session": 1,
        }
        self.assertEqual({name: told[name] for name in counted}, counted)
        self.assertNotIn("Bob's own", response.text)
        contents = [each["content"] for each in rows if "content" in each]
        file = File.objects.get(owner=owner.user)
        self.assertEqual({piece["id"] for piece in contents}, {str(file.pk)})
        text = b"".join(base64.b64decode(piece["base64"]) for piece in contents)
        self.assertEqual(text.decode(), f"A file about {self.canary}")

    def test_it_opens_nothing(self):
        owner = self.canary_user()
        text = owner.http.get(f"{ME}/export").text
        owner.user.refresh_from_db()
        for secret in (owner.secret, owner.key.digest, owner.user.password, PASSWORD, "argon2"):
            self.assertNotIn(secret, text)

    def test_the_command_writes_the_same(self):
        owner = self.canary_user()
        self.wait_for_one_usage(owner.user)
        wait_until(
            lambda: not FileText.objects.waiting().filter(owner=owner.user).exists(), what="the text of the file"
        )
        out = StringIO()
        call_command("export_user", owner.user.username, stdout=out)
        stable = [row for row in rows_of(out.getvalue()) if row["model"] != "accounts.ratewindow"]
        told = [row for row in rows_of(owner.http.get(f"{ME}/export").text) if row["model"] != "accounts.ratewindow"]
        self.assertEqual(stable, told)
        with self.assertRaisesMessage(CommandError, "no account"):
            call_command("export_user", "zoe")

    def test_who_i_am(self):
        told = self.alice.http.get(ME).json()["data"]
        self.assertEqual((told["id"], told["username"]), (str(self.alice.user.pk), self.alice.user.username))
        self.assertEqual((told["is_staff"], told["has_password"]), (False, False))
        self.assertEqual(self.guest.get(ME).status_code, 401)
        self.assertEqual(self.guest.get(f"{ME}/export").status_code, 401)

    def wait_for_one_usage(self, user: User) -> None:
        """Wait until the account's usage rows are merged, as the sweep does: before, two exports would differ."""
        usage = StoredUsage.objects.filter(owner_id=user.pk)
        wait_until(lambda: not fold() and usage.count() <= 1, what="the usage in one row")


class EraseTest(AccountCase):
    def test_nothing_of_it_is_left_anywhere(self):
        owner = self.canary_user()
        key = ApiKey.objects.get(user=owner.user)
        needles = [self.canary, owner.user.username, key.kid, key.digest]
        for needle in needles:
            self.assertTrue(places_of(needle))
        self.assertEqual(self.confirm(owner, username=owner.user.username).status_code, 200)
        for needle in needles:
            self.assertEqual(places_of(needle), set(), needle)
        self.assertEqual(self.tables_with(owner.user), PSEUDONYMOUS | {LogEntry._meta.db_table})
        self.assertFalse((Path(settings.VAR_DIR) / "files" / owner.user.pk.hex).exists())
        self.assertEqual(owner.http.get(ME).status_code, 401)
        self.assertEqual(AccessLogEntry.objects.get(owner_id=owner.user.pk).reason, "")
        self.assertNotIn(self.canary, self.service.log())

    def test_the_command_and_the_admin_erase_as_much(self):
        for number, erase in enumerate((self.by_command, self.by_admin)):
            self.canary = f"CANARY{number}{uuid.uuid4().hex}"
            owner = self.canary_user()
            self._api_users.clear()
            erase(owner.user)
            self.assertEqual(places_of(self.canary), set())

    def by_command(self, user: User) -> None:
        call_command("erase_user", user.username, "--yes", stdout=StringIO())

    def by_admin(self, user: User) -> None:
        site = Client()
        site.force_login(self.carol.user)
        response = site.post(f"/admin/accounts/user/{user.pk}/delete/", {"post": "yes"})
        self.assertEqual(response.status_code, 302, response.content[:500])

    def test_nothing_happens_without_a_confirmation(self):
        user = self.alice.user
        user.set_password(PASSWORD)
        user.save()
        for body, status in (
            ({}, 400),
            ({"username": None}, 400),
            ({"username": self.bob.user.username}, 403),
            ({"password": "wrong"}, 403),
            ({"username": user.username, "password": "wrong"}, 403),
            ({"username": "wrong", "password": PASSWORD}, 403),
        ):
            self.assertEqual(self.confirm(self.alice, **body).status_code, status, body)
        self.assertEqual(self.alice.http.delete(ME).status_code, 400)
        self.assertTrue(User.objects.filter(pk=user.pk).exists())
        self.assertEqual(self.confirm(self.alice, password=PASSWORD).status_code, 200)
        self.assertFalse(User.objects.filter(pk=user.pk).exists())

    def test_a_key_alone_does_not_erase_staff(self):
        refused = self.confirm(self.carol, username=self.carol.user.username)
        self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (403, "not_confirmed"))
        self.assertEqual(self.carol.http.get(ME).status_code, 200)

    def test_others_keep_theirs(self):
        for api_user in (self.alice, self.bob):
            api_user.http.post("/v1/chat/conversations/stream", json={"content": "Hello"})
        before = self.counts(self.bob.user)
        self.assertEqual(self.confirm(self.alice, username=self.alice.user.username).status_code, 200)
        self.assertEqual(self.counts(self.bob.user), before)
        self.assertEqual(self.bob.http.get("/v1/chat/conversations").json()["meta"]["total"], 1)

    def test_an_answer_being_written_is_stopped_first_and_nothing_comes_back(self):
        for _ in range(ROUNDS):
            self._api_users.clear()
            self.erase_while_busy()

    def erase_while_busy(self) -> None:
        owner, upstream = self.api_user("busy"), fake_upstream()
        asked, hung_up = len(upstream.posts), len(upstream.hangups)
        threads = [threading.Thread(target=self.ask, args=(owner,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(upstream.posts) >= asked + 3, what="three answers")
        late = [threading.Thread(target=self.ask, args=(owner,)) for _ in range(3)]
        for thread in late:
            thread.start()
        self.assertEqual(self.confirm(owner, username=owner.user.username).status_code, 200)
        for thread in (*threads, *late):
            thread.join(20)
            self.assertFalse(thread.is_alive())
        wait_until(lambda: len(upstream.hangups) - hung_up >= len(upstream.posts) - asked, what="closed upstreams")
        self.assertLessEqual(self.tables_with(owner.user), {RateWindow._meta.db_table})
        self.assertEqual(self.counts(owner.user), Counter())

    def ask(self, api_user: ApiUser) -> None:
        body = {"content": "A long story", "model": "fake/slow:20ms:500"}
        with httpx2.Client(base_url=self.service.url, headers=api_user.headers, timeout=30, trust_env=False) as client:
            client.post("/v1/chat/conversations/stream", json=body)

    def counts(self, user: User) -> Counter[str]:
        rows: dict[str, QuerySet[Any]] = {
            "runs": Run.objects.filter(user=user),
            "talks": Conversation.objects.filter(owner=user),
            "said": Message.objects.filter(conversation__owner=user),
            "keys": ApiKey.objects.filter(user=user),
        }
        return +Counter({name: found.count() for name, found in rows.items()})

    def tables_with(self, user: User) -> set[str]:
        """Return the tables that contain the account's id, in either of the forms in which databases store ids."""
        places = places_of(user.pk.hex) | places_of(str(user.pk))
        return {place for place in places if place in connection.introspection.table_names()}
