"""Accounts and keys from the shell."""

from __future__ import annotations

import io

from django.core.management import CommandError, call_command
from django.test import TestCase

from accounts.models import ApiKey, User
from accounts.principal import clear_cache, principal_of_key


def run(*arguments: str) -> list[str]:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().splitlines()


class CommandTest(TestCase):
    def setUp(self):
        clear_cache()
        self.addCleanup(clear_cache)

    def test_an_account_without_a_password_cannot_be_signed_in_to(self):
        run("create_user", "alice")
        alice = User.objects.get(username="alice")
        self.assertFalse(alice.has_usable_password() or alice.is_staff or alice.is_superuser or alice.guest_made)

    def test_a_password_is_kept_as_argon2(self):
        run("create_user", "alice", "--password", "a long and rare one")
        alice = User.objects.get(username="alice")
        self.assertTrue(alice.password.startswith("argon2"))
        self.assertTrue(alice.check_password("a long and rare one"))

    def test_staff_may_use_the_admin(self):
        run("create_user", "carol", "--staff", "--password", "a long and rare one")
        carol = User.objects.get(username="carol")
        self.assertTrue(carol.is_staff and carol.is_superuser)

    def test_bad_input_is_told_and_stores_nothing(self):
        run("create_user", "alice")
        for arguments in (["alice"], ["bad name"], [""], ["x" * 151], ["bob", "--password", "123"]):
            with self.assertRaises(CommandError, msg=arguments):
                run("create_user", *arguments)
        self.assertEqual(User.objects.filter(guest_made=False).count(), 1)

    def test_the_secret_stands_alone_on_the_last_line_and_works(self):
        run("create_user", "alice")
        *_, last = run("create_api_key", "alice", "--label", "laptop")
        self.assertEqual(principal_of_key(last).username, "alice")
        self.assertEqual(ApiKey.objects.get().name, "laptop")

    def test_a_key_may_be_given_an_end(self):
        run("create_user", "alice")
        run("create_api_key", "alice", "--days", "30")
        key = ApiKey.objects.get()
        assert key.expires_at is not None
        self.assertEqual(round((key.expires_at - key.created_at).total_seconds() / 86400), 30)

    def test_a_key_for_nobody_is_told(self):
        with self.assertRaisesMessage(CommandError, "create_user nobody"):
            run("create_api_key", "nobody")
