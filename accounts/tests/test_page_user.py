"""A request names the user whose page sent it, and only that user's credential is accepted."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.test import Client, TestCase, override_settings

from accounts.callers import Caller, IdentityChanged, Principal
from accounts.principal import clear_cache, known_principal, resolve_principal
from accounts.services import issue_api_key, register_user
from accounts.websocket_auth import principal_of_frame, principal_of_scope
from chatservice.testing import OwnConnection

PASSWORD = "a long enough phrase"
OURS = {"X-Requested-With": "chat"}


class PageUserTest(TestCase):
    def setUp(self):
        clear_cache()
        self.addCleanup(clear_cache)
        self.alice = register_user(username="alice", password=PASSWORD)
        self.bob = register_user(username="bob", password=PASSWORD)
        self.browser = Client()

    def caller(self, page_user: object = None, **headers: str) -> Caller:
        sent = {"host": "testserver", "x-requested-with": "chat", **headers}
        if page_user is not None:
            sent["x-page-user"] = str(page_user)
        if cookie := self.browser.cookies.get(settings.SESSION_COOKIE_NAME):
            sent["cookie"] = f"{settings.SESSION_COOKIE_NAME}={cookie.value}"
        return Caller(headers=sent, peer="127.0.0.1", method="POST", connection=OwnConnection())

    def assert_nobody_else(self, mine: object, **headers: str) -> Principal:
        """Check that a page of `mine` acts as that user, and that a page of anybody else is refused."""
        who = resolve_principal(self.caller(mine, **headers))
        self.assertEqual(who.page_user, str(mine))
        self.assertEqual(resolve_principal(self.caller(**headers)), who, "clients that are no page send no header")
        for other in {"guest", str(self.alice.pk), str(self.bob.pk), str(uuid.uuid4()), "", "x" * 5_000} - {str(mine)}:
            remembered = known_principal(self.caller(**headers)) is not None
            for resolve in (resolve_principal, known_principal) if remembered else (resolve_principal,):
                with self.assertRaises(IdentityChanged) as refused:
                    resolve(self.caller(other, **headers))
                self.assertNotIn("alice", refused.exception.message)
                self.assertNotIn(str(who.user_id), refused.exception.message)
        return who

    @override_settings(KEY_CACHE_SECONDS=60)
    def test_a_session_counts_in_the_pages_of_its_user_alone(self):
        self.browser.force_login(self.alice)
        self.assert_nobody_else(self.alice.pk)
        self.assertIsNotNone(known_principal(self.caller(self.alice.pk)))

    def test_a_key_counts_in_the_pages_of_its_user_alone(self):
        _, text = issue_api_key(user=self.alice)
        self.assert_nobody_else(self.alice.pk, authorization=f"Bearer {text}")

    def test_a_page_of_somebody_who_signed_out_is_no_guests(self):
        self.assertTrue(self.assert_nobody_else("guest").is_guest)

    def test_an_account_of_that_name_is_not_the_guest(self):
        called_guest = register_user(username="guest")
        self.browser.force_login(called_guest)
        self.assert_nobody_else(called_guest.pk)

    def test_to_and_fro_between_users_each_ones_page_goes_on_working(self):
        for user in (self.alice, None, self.alice, self.bob, self.alice):
            self.browser.logout()
            if user is not None:
                self.browser.force_login(user)
            self.assert_nobody_else("guest" if user is None else user.pk)

    def test_a_new_name_and_a_renewed_session_change_nothing(self):
        self.browser.force_login(self.alice)
        page = self.caller(self.alice.pk).headers["x-page-user"]
        self.alice.username = "alice-two"
        self.alice.save()
        self.browser.force_login(self.alice)
        clear_cache()
        self.assertEqual(resolve_principal(self.caller(page)).username, "alice-two")

    def test_a_socket_says_it_by_a_subprotocol(self):
        _, text = issue_api_key(user=self.alice)
        for ways in (
            {"subprotocols": ["chat.v1", f"key.{text}"]},
            {"headers": [(b"authorization", f"Bearer {text}".encode())]},
        ):
            scope = {"headers": [], "client": ("127.0.0.1", 1), **ways}
            named = scope.get("subprotocols", [])
            hers, his = f"user.{self.alice.pk}", f"user.{self.bob.pk}"
            self.assertEqual(principal_of_scope({**scope, "subprotocols": [*named, hers]}).username, "alice")
            for others in ([his], ["user.guest"], ["user."], [hers, his]):
                with self.assertRaises(IdentityChanged):
                    principal_of_scope({**scope, "subprotocols": [*named, *others]})
        frame = {"headers": [], "client": ("127.0.0.1", 1), "subprotocols": [f"user.{self.bob.pk}"]}
        with self.assertRaises(IdentityChanged):
            principal_of_frame(frame, text)

    def test_the_page_of_one_user_does_not_sign_another_out(self):
        self.browser.force_login(self.bob)
        for page_user in (str(self.alice.pk), "guest"):
            refused = self.browser.post("/logout", headers={**OURS, "X-Page-User": page_user})
            self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (401, "identity_changed"))
            self.assertEqual(resolve_principal(self.caller()).username, "bob")
        gone = self.browser.post("/logout", headers={**OURS, "X-Page-User": str(self.bob.pk)})
        self.assertEqual(gone.status_code, 204)
        # Signing out twice is not an error.
        again = self.browser.post("/logout", headers={**OURS, "X-Page-User": str(self.bob.pk)})
        self.assertEqual(again.status_code, 204)
