"""A large account is unusable and hidden at once, and any process erases what it held, wherever another one died."""

from __future__ import annotations

import uuid
from io import StringIO
from pathlib import Path
from unittest import mock

import httpx2
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.test import Client

from accounts import services
from accounts.erasing import claim, held_by
from accounts.models import AccountErasure, User
from accounts.services import activate_user, delete_user, register_user
from chatservice.testing import ServiceTestCase, needs_dialect, wait_until
from conversations.services import append_message, start_conversation
from files.services import store_file
from search.queries import Mode, search_everybody
from tests.database_text import places_of

CONVERSATIONS = 25  # more than a step deletes


class ErasingTest(ServiceTestCase):
    def setUp(self) -> None:
        needs_dialect("chat_v1")
        super().setUp()
        self.canary = f"canary{uuid.uuid4().hex}"
        self.owner = self.api_user(self.canary)
        for number in range(CONVERSATIONS):
            talk = start_conversation(owner_id=self.owner.user.pk, title=f"{self.canary} {number}")
            append_message(conversation=talk, role="user", content=f"Number {number} of {self.canary}")
        told = ContentFile(self.canary.encode())
        store_file(owner_id=self.owner.user.pk, content=told, name="a.txt", purpose="user_data")
        self.site = Client()
        self.site.force_login(self.carol.user)

    def shown(self, page: str) -> str:
        response = self.site.get(f"/admin/{page}")
        self.assertEqual(response.status_code, 200, page)
        return response.content.decode()

    def found(self) -> int:
        return len(search_everybody(self.canary, mode=Mode.TEXT).hits)

    def test_it_is_gone_at_once_and_erased_by_any_process(self) -> None:
        user = self.owner.user
        wait_until(self.found, what="the index: other tests leave more than a search catches up with")
        self.assertTrue(self.canary in self.shown("conversations/conversation/"))
        # One step, whose claim stays: as if this process had died after it.
        with mock.patch.object(services, "STEP_SECONDS", 0), mock.patch.object(services, "release"):
            self.assertFalse(delete_user(user=user, seconds=0))
        self.assertFalse(claim(user.pk), "another process would take the next step")
        left = held_by(user.pk)
        self.assertTrue(0 < left < CONVERSATIONS, left)

        wait_until(lambda: self.owner.http.get("/v1/chat/me").status_code == 401, what="the end of the key")
        self.assertEqual(httpx2.get(f"{self.service.url}/v1/chat/me", headers=self.owner.headers).status_code, 401)
        self.assertEqual(self.found(), 0)
        for page in ("conversations/conversation/", "accounts/user/", "accounts/apikey/", "completions/run/"):
            self.assertFalse(self.canary in self.shown(page), page)
        self.assertEqual(self.site.get(f"/admin/accounts/user/{user.pk}/change/").status_code, 302)
        progress = f"{left} of {CONVERSATIONS + 1} conversations, files and answers left"
        self.assertTrue(progress in self.shown("accounts/accounterasure/"), progress)
        out = StringIO()
        call_command("erase_user", stdout=out)
        self.assertIn(f"{user.pk}, requested", out.getvalue())
        self.assertIn(progress, out.getvalue())
        with self.assertRaises(ValidationError):
            activate_user(user=User.objects.get(pk=user.pk))
        again = register_user(username=user.username)
        self.assertEqual(User.objects.named(user.username), again, "the name is free")
        delete_user(user=again)

        AccountErasure.objects.filter(user=user).update(claimed_until=0)  # the claim of the process that died is over
        wait_until(lambda: not User.objects.filter(pk=user.pk).exists(), what="the erasure by the service", timeout=60)
        self.assertFalse(AccountErasure.objects.filter(user=user).exists())
        self.assertEqual(places_of(self.canary), set())
        self.assertFalse((Path(settings.VAR_DIR) / "files" / user.pk.hex).exists())

    def test_a_second_request_waits_for_the_first(self) -> None:
        with mock.patch.object(services, "STEP_SECONDS", 0):
            self.assertFalse(delete_user(user=self.owner.user, seconds=0))
        self.assertTrue(delete_user(user=self.owner.user))
        self.assertTrue(delete_user(user=self.owner.user), "it is gone")
