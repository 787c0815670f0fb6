"""Which user a key stands for, and which headers may carry a key."""

from __future__ import annotations

import datetime as dt

from django.test import SimpleTestCase, TestCase, override_settings
from django.utils import timezone

from accounts.callers import Caller, NotAdmitted
from accounts.models import User
from accounts.principal import cached_principal, clear_cache, principal_of_key, read_bearer, resolve_principal
from accounts.services import issue_api_key, register_user, revoke_api_key


class PrincipalTest(TestCase):
    def setUp(self):
        clear_cache()
        self.addCleanup(clear_cache)
        self.alice = register_user(username="alice")
        self.key, self.text = issue_api_key(user=self.alice)

    def test_a_key_makes_you_its_user(self):
        who = principal_of_key(self.text, "10.0.0.1")
        self.assertEqual((who.user_id, who.username, who.key_id), (self.alice.pk, "alice", self.key.pk))
        self.assertEqual((who.is_guest, who.is_staff, who.address), (False, False, "10.0.0.1"))

    def test_a_revoked_key_is_useless_at_once_even_when_it_was_used_a_moment_ago(self):
        principal_of_key(self.text)
        with self.captureOnCommitCallbacks(execute=True):
            revoke_api_key(key=self.key)
        self.assertIsNone(cached_principal(self.text, ""))
        with self.assertRaises(NotAdmitted):
            principal_of_key(self.text)

    def test_an_expired_key_is_useless(self):
        self.key.expires_at = timezone.now() - dt.timedelta(seconds=1)
        self.key.save()
        with self.assertRaises(NotAdmitted):
            principal_of_key(self.text)

    @override_settings(KEY_CACHE_SECONDS=60)
    def test_the_cache_never_outlives_the_key(self):
        self.key.expires_at = timezone.now() + dt.timedelta(milliseconds=40)
        self.key.save()
        principal_of_key(self.text)
        until = timezone.now() + dt.timedelta(seconds=5)
        while timezone.now() < until and cached_principal(self.text, "") is not None:
            pass
        self.assertLess(timezone.now(), until)
        with self.assertRaises(NotAdmitted):
            principal_of_key(self.text)

    def test_the_key_of_a_disabled_account_is_useless(self):
        User.objects.filter(pk=self.alice.pk).update(is_active=False)
        with self.assertRaises(NotAdmitted):
            principal_of_key(self.text)

    def test_the_right_key_id_with_another_keys_secret_is_wrong(self):
        from accounts import keys

        _, other = issue_api_key(user=register_user(username="bob"))
        body = self.text[:12] + other[12:-6]
        with self.assertRaises(NotAdmitted):
            principal_of_key(body + keys._checksum(body))

    def test_wrong_keys_all_get_the_same_answer(self):
        from accounts import keys

        _, unknown = keys.generate()
        revoked, revoked_text = issue_api_key(user=self.alice)
        revoke_api_key(key=revoked)
        answers = set()
        for text in (
            unknown,
            revoked_text,
            self.text[:-1] + ("0" if self.text[-1] != "0" else "1"),
            "cb_nonsense",
            "' OR 1=1 --",
        ):
            with self.assertRaises(NotAdmitted) as caught:
                principal_of_key(text)
            answers.add((type(caught.exception), caught.exception.message))
        self.assertEqual(len(answers), 1)

    def test_a_wrong_credential_never_becomes_a_guest(self):
        for header in ("", "Bearer", "Bearer wrong", "Basic YTpi", self.text, f"Bearer {self.text} extra"):
            caller = Caller(headers={"host": "localhost", "authorization": header}, peer="127.0.0.1")
            with self.assertRaises(NotAdmitted, msg=header):
                resolve_principal(caller)

    def test_last_use_is_noted_but_not_on_every_request(self):
        principal_of_key(self.text)
        self.key.refresh_from_db()
        first = self.key.last_used_at
        self.assertIsNotNone(first)
        clear_cache()
        with self.assertNumQueries(1):
            principal_of_key(self.text)


class BearerHeaderTest(SimpleTestCase):
    def test_the_strict_form_is_bearer_and_a_token(self):
        for header in ("Bearer abc", "bearer abc", "BEARER  abc ", " Bearer abc"):
            self.assertEqual(read_bearer(header), "abc", header)

    def test_everything_else_is_refused(self):
        for header in (
            *("", "abc", "Bearer", "Bearer ", "Bearerabc", "Bearer a b", "Bearer\tabc", "Token abc", "Bearer é"),
            "Bearer " + "a" * 600,
            "Bearer cb_x,Bearer cb_y z",
        ):
            with self.assertRaises(NotAdmitted, msg=header):
                read_bearer(header)

    def test_the_lenient_form_forgives_a_missing_space_but_only_for_our_keys(self):
        for header in ("bearercb_x", "Bearercb_x", "Bearer:cb_x", "cb_x", "bearer : cb_x", "Bearer cb_x"):
            self.assertEqual(read_bearer(header, lenient=True), "cb_x", header)
            if header != "Bearer cb_x":
                with self.assertRaises(NotAdmitted, msg=header):
                    read_bearer(header)
        for header in ("bearersk-x", "Basic cb_x", "cb_x cb_y"):
            with self.assertRaises(NotAdmitted, msg=header):
                read_bearer(header, lenient=True)
