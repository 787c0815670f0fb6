"""Every other place that checks a password applies the same delay; sessions, keys and known browsers keep working."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import httpx2

from accounts.models import FailedSignIn, User
from chatservice.testing import Service, ServiceTestCase, needs_dialect, running_service, tried_once, wait_until

PASSWORD, OTHER = "a long enough phrase", "another long enough phrase"
ME = "/v1/chat/me"


def setUpModule() -> None:
    needs_dialect("chat_v1")
    needs_dialect("resources")


@tried_once
class SurfacesTest(ServiceTestCase):
    limited: Service

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.limited = cls.enterClassContext(running_service(LIMIT_PASSWORD_FAILURES="3"))

    def setUp(self) -> None:
        super().setUp()
        self.alice.http.base_url = self.limited.url
        self.user = self.alice.user
        self.user.set_password(PASSWORD)
        self.user.save()
        self.alice.key.may_change_credentials = True
        self.alice.key.save()

    def sign_in(self, password: str, browser: httpx2.Client | None = None) -> httpx2.Response:
        client = browser or httpx2.Client(base_url=self.limited.url, timeout=30, trust_env=False)
        self.addCleanup(client.close)
        form = client.get("/login").text
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        assert found is not None
        given = {"username": self.user.username, "password": password, "csrfmiddlewaretoken": found[1]}
        return client.post("/login", data=given)

    def confirm(self, password: str) -> httpx2.Response:
        return self.alice.http.request("DELETE", ME, json={"password": password})

    def change(self, password: str) -> httpx2.Response:
        body = {"password": OTHER, "current_password": password}
        return self.alice.http.patch(f"/users/{self.user.pk}", json=body)

    def guess_until_waiting(self, surface: Callable[[str], httpx2.Response]) -> None:
        """Guess until a wait of some seconds has begun: on a busy machine the first, of one second, is soon over."""
        while (wait := int(surface("wrong").headers.get("retry-after", 0))) <= 2:
            time.sleep(wait)

    def assert_must_wait(self, response: httpx2.Response) -> None:
        self.assertEqual(response.status_code, 429, response.text)
        self.assertTrue(1 <= int(response.headers["retry-after"]) <= 30)
        self.assertIn("LIMIT_PASSWORD_FAILURES", response.text)

    def test_deleting_an_account_and_changing_a_password_share_a_wait_of_whoever_is_signed_in(self):
        told = [surface("wrong").status_code for surface in (self.confirm, self.change, self.confirm)]
        self.assertEqual(told, [403] * 3)
        self.guess_until_waiting(self.change)
        # The password is not checked: the right one is refused like a wrong one, so the answer does not reveal it.
        self.assert_must_wait(self.change(PASSWORD))
        self.assertTrue(User.objects.filter(pk=self.user.pk).exists())
        self.assertEqual(self.alice.http.get(ME).status_code, 200)
        self.assertEqual(self.sign_in(PASSWORD).status_code, 302)
        wait_until(lambda: self.change(PASSWORD).status_code == 200, what="the end of the wait")
        self.assertEqual(self.confirm(OTHER).status_code, 200)

    def test_strangers_who_guess_keep_no_owner_out(self):
        mine = httpx2.Client(base_url=self.limited.url, timeout=30, trust_env=False)
        self.assertEqual(self.sign_in(PASSWORD, mine).status_code, 302)
        session = {"X-Requested-With": "chat", "Origin": self.limited.url}
        told = [self.sign_in("wrong").status_code for _ in range(3)]
        self.assertEqual(told, [200] * 3)
        self.guess_until_waiting(self.sign_in)
        self.assert_must_wait(self.sign_in(PASSWORD))
        # A key, a session, a known browser, and an action confirmed with the password.
        self.assertEqual(self.alice.http.get(ME).status_code, 200)
        self.assertEqual(mine.get(ME, headers=session).status_code, 200)
        self.assertEqual(mine.post("/logout", headers=session).status_code, 204)
        self.assertEqual(self.sign_in(PASSWORD, mine).status_code, 302)
        self.assertEqual(self.change(PASSWORD).status_code, 200)

    def test_the_owner_is_told(self):
        self.sign_in("wrong")
        self.confirm("wrong")
        [shown] = self.alice.http.get(ME).json()["data"]["failed_sign_ins"]
        self.assertEqual((shown["network"], shown["attempts"]), ("127.0.0.0/24", 2))
        self.assertLess(shown["first_at"], shown["last_at"])
        self.assertEqual(set(shown), {"network", "attempts", "first_at", "last_at"})
        for left in (1, 0):
            self.sign_in(PASSWORD)
            self.assertEqual(len(self.alice.http.get(ME).json()["data"]["failed_sign_ins"]), left)
        self.assertEqual(self.bob.http.get(ME).json()["data"]["failed_sign_ins"], [])

    def test_a_name_alone_is_no_guess(self):
        body: dict[str, Any] = {"username": "somebody else"}
        told = [self.alice.http.request("DELETE", ME, json=body).status_code for _ in range(8)]
        self.assertEqual(told, [403] * 8)
        self.assertFalse(FailedSignIn.objects.filter(user=self.user).exists())
