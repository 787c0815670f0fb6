"""Creating many accounts at once, from a file or stdin: either all are created or none."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from unittest import mock

from django.core.management import CommandError, call_command
from django.test import TestCase

from accounts.models import ApiKey, User
from accounts.principal import clear_cache, principal_of_key
from accounts.services import register_user

USERS = """username,email,password
# the first team
Alice,alice@example.org,-
bob,,a long and rare one
carol
"""


class BulkTest(TestCase):
    def setUp(self):
        clear_cache()
        self.addCleanup(clear_cache)

    def create(self, text: str, *options: str) -> list[dict[str, str]]:
        out = io.StringIO()
        self.errors = io.StringIO()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "users.csv"
            path.write_text(text, encoding="utf-8")
            call_command("create_user", "--from", str(path), *options, stdout=out, stderr=self.errors)
        return list(csv.DictReader(io.StringIO(out.getvalue())))

    def names(self) -> set[str]:
        return set(User.objects.filter(guest_made=False).values_list("username", flat=True))

    def test_each_row_is_an_account_and_what_was_generated_is_printed_once(self):
        alice, bob, carol = self.create(USERS, "--keys")
        stored = {user.username: user for user in User.objects.all()}
        self.assertEqual((stored["Alice"].email, alice["id"]), ("alice@example.org", str(stored["Alice"].pk)))
        self.assertTrue(len(alice["password"]) >= 20 and stored["Alice"].check_password(alice["password"]))
        self.assertTrue(stored["bob"].check_password("a long and rare one"))
        self.assertEqual((bob["password"], carol["password"]), ("", ""))
        self.assertFalse(stored["carol"].has_usable_password())
        for row in (alice, bob, carol):
            self.assertEqual(principal_of_key(row["key"]).username, row["username"])
        self.assertFalse(any(user.is_staff for user in stored.values()))

    def test_without_keys_none_is_made(self):
        self.assertEqual([row["key"] for row in self.create(USERS)], ["", "", ""])
        self.assertFalse(ApiKey.objects.exists())

    def test_one_bad_row_and_nothing_is_created_and_all_of_them_are_told(self):
        register_user(username="taken")
        text = "good\nTAKEN\ntwo words\ngood2,not an address\ngood3,,123\nGOOD\na,b,c,d\n"
        with self.assertRaises(CommandError) as caught:
            self.create(text)
        self.assertIn("Line 7", str(caught.exception))  # malformed lines are reported first
        with self.assertRaises(CommandError) as caught:
            self.create(text.removesuffix("a,b,c,d\n"))
        told = str(caught.exception)
        for line in (2, 3, 4, 5, 6):
            self.assertIn(f"Line {line}:", told)
        self.assertIn("line 1", told)
        self.assertNotIn("Line 1:", told)
        self.assertEqual(self.names(), {"taken"})

    def test_a_name_that_is_taken_at_the_last_moment_leaves_nothing(self):
        save = User.save

        def late(user: User, **how: object) -> None:
            if user.username == "second":
                save(User(username="SECOND"), force_insert=True)
            save(user, **how)

        with mock.patch.object(User, "save", late), self.assertRaisesMessage(CommandError, "in the meantime"):
            self.create("first\nsecond\n", "--keys")
        self.assertFalse(User.objects.filter(username="first").exists() or ApiKey.objects.exists())

    def test_again_it_creates_what_is_missing_alone(self):
        self.create("alice\nbob\n", "--keys")
        rows = self.create("ALICE\nbob\ncarol,,-\n", "--keys", "--skip-existing")
        self.assertEqual([row["username"] for row in rows], ["carol"])
        self.assertEqual(self.errors.getvalue().count("exists already"), 2)
        self.assertEqual(self.names(), {"alice", "bob", "carol"})
        self.assertEqual(ApiKey.objects.count(), 3)
        self.assertEqual(self.create("alice\nbob\ncarol\n", "--keys", "--skip-existing"), [])
        with self.assertRaises(CommandError):
            self.create("alice\n")

    def test_stdin_is_a_file_too(self):
        out = io.StringIO()
        with mock.patch("sys.stdin", io.StringIO("alice\nbob\n")):
            call_command("create_user", "--from", "-", stdout=out)
        self.assertEqual(self.names(), {"alice", "bob"})

    def test_what_cannot_go_together_is_told(self):
        both = ["alice", "--from", "x"]
        for arguments in ([], both, ["--from", "x", "--staff"], ["alice", "--keys"], ["--from", "/no"]):
            with self.assertRaises(CommandError, msg=arguments):
                call_command("create_user", *arguments, stdout=io.StringIO())
        self.assertEqual(self.names(), set())

    def test_an_empty_file_is_no_accounts(self):
        self.assertEqual(self.create("\n# nobody\n"), [])
