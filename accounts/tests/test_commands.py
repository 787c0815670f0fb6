"""Accounts and keys from the shell."""

from __future__ import annotations

import io

from django.core.management import CommandError, call_command
from django.test import TestCase

from accounts.callers import NotAdmitted
from accounts.models import ApiKey, User
from accounts.principal import clear_cache, principal_of_key
from accounts.services import register_user


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

    def test_accounts_are_found_by_any_spelling(self):
        run("create_user", "Alice")
        run("create_api_key", "ALICE")
        self.assertEqual(ApiKey.objects.get().user.username, "Alice")
        self.assertIn("accounts.user", run("export_user", "аlice")[0])
        run("erase_user", "alice", "--yes")
        self.assertFalse(User.objects.filter(username="Alice").exists())

    def test_a_key_changes_credentials_only_where_that_was_said(self):
        run("create_user", "alice")
        for options, expected in (([], False), (["--may-change-credentials"], True)):
            *_, text = run("create_api_key", "alice", *options)
            self.assertEqual(principal_of_key(text).may_change_credentials, expected)

    def test_an_account_is_deactivated_with_those_it_made_and_activated_by_itself(self):
        alice = register_user(username="alice")
        register_user(username="child", created_by=alice)
        *_, text = run("create_api_key", "child")
        self.assertEqual(run("deactivate_user", "ALICE"), ["Deactivated alice.", "Deactivated child."])
        with self.assertRaises(NotAdmitted):
            principal_of_key(text)
        run("activate_user", "alice")
        self.assertEqual(list(User.objects.filter(is_active=True).values_list("username", flat=True)), ["alice"])
        for command in ("deactivate_user", "activate_user"):
            with self.assertRaisesMessage(CommandError, "no account"):
                run(command, "nobody")

    def test_stopping_alone_leaves_it_active(self):
        register_user(username="alice")
        run("deactivate_user", "alice", "--only-stop")
        alice = User.objects.get(username="alice")
        self.assertTrue(alice.is_active and alice.stopped_at)
