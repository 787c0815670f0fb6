"""`manage.py import_users`: all rows or none, as often as one likes, without a word about what did not change."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext

from accounts import user_import
from accounts.models import SubjectLimits, User
from accounts.principal import clear_cache, principal_of_key
from accounts.services import issue_api_key, register_user
from accounts.usernames import username_key


class ImportUsersTest(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.alice = register_user(username="alice", email="alice@example.org")
        self.alice.groups.add(Group.objects.create(name="editors"))

    def load(self, text: str, **options: Any) -> list[str]:
        """Import this text; return what is printed, line by line."""
        path, out = self.folder / "users.csv", StringIO()
        path.write_text(text, encoding="utf-8-sig")
        call_command("import_users", str(path), stdout=out, stderr=out, no_progress=True, **options)
        return out.getvalue().splitlines()

    def refused(self, text: str) -> str:
        path, errors = self.folder / "users.csv", StringIO()
        path.write_text(text, encoding="utf-8")
        with self.assertRaisesMessage(CommandError, "Nothing was written"):
            call_command("import_users", str(path), stdout=StringIO(), stderr=errors, no_progress=True)
        return errors.getvalue()

    def stored(self) -> dict[str, tuple[str, list[str]]]:
        return {
            user.username: (user.email, sorted(user.groups.values_list("name", flat=True)))
            for user in User.objects.order_by("username")
        }

    def test_accounts_are_made_and_changed_and_the_same_again_changes_nothing(self) -> None:
        text = (
            "name,mail,groups\n# a remark\nbob,bob@example.org,interns; editors\n\nAlice,a@example.org,interns\ncarol\n"
        )
        told = self.load(text)
        self.assertEqual(
            told,
            [
                "Row 3: made 'bob': into interns, editors",
                "Row 5: changed 'Alice': mail; into interns",
                "Row 6: made 'carol'",
                "2 made, 1 changed, 0 unchanged, 0 refused.",
            ],
        )
        expected = {
            "alice": ("a@example.org", ["editors", "interns"]),
            "bob": ("bob@example.org", ["editors", "interns"]),
            "carol": ("", []),
        }
        self.assertEqual(self.stored(), expected)
        bob = User.objects.get(username="bob")
        self.assertEqual((bob.username_key, bob.has_usable_password()), (username_key("bob"), False))
        self.assertTrue(bob.is_active and not bob.is_staff and not bob.is_superuser)
        self.assertEqual(self.load(text), ["0 made, 0 changed, 3 unchanged, 0 refused."])
        self.assertEqual(self.load("alice\n"), ["0 made, 0 changed, 1 unchanged, 0 refused."])
        self.assertEqual(self.stored(), expected)

    def test_only_exact_takes_anybody_out_of_a_group(self) -> None:
        self.load("alice,,interns\n")
        self.assertEqual(self.stored()["alice"][1], ["editors", "interns"])
        told = self.load("alice,,interns\n", exact=True)
        self.assertEqual(told[0], "Row 1: changed 'alice': out of editors")
        self.assertEqual(self.stored()["alice"], ("alice@example.org", ["interns"]))

    def test_a_dry_run_tells_the_same_and_writes_nothing(self) -> None:
        before = self.stored()
        text = "bob,bob@example.org,interns\nalice,,interns\n"
        dry = self.load(text, dry_run=True)
        self.assertEqual(dry[-1], "1 made, 1 changed, 0 unchanged, 0 refused. Nothing was written (--dry-run).")
        self.assertEqual(self.stored(), before)
        self.assertFalse(Group.objects.filter(name="interns").exists())
        self.assertEqual(self.load(text)[:-1], dry[:-1])

    def test_one_wrong_row_keeps_all_from_being_written_and_each_is_told(self) -> None:
        register_user(username="visitor", guest_made=True)
        before = self.stored()
        told = self.refused(
            "bob\n"
            "b\u200bob\n"
            "carol,nobody\n"
            "BOB\n"
            "visitor,,interns\n"
            ",x@example.org\n"
            f"dan,,{'g' * 151}\n"
            "erin,e@example.org,interns,more\n"
            f"{'n' * 151}\n"
            "alice,not an address\n"
        )
        for line, about in (
            (2, "valid username"),
            (3, "valid email"),
            (4, "the same name as in row 1"),
            (5, "belongs to guests"),
            (6, "valid username"),
            (7, "at most 150 characters"),
            (8, "expected name,mail,groups"),
            (9, "150 characters"),
            (10, "valid email"),
        ):
            [found] = [each for each in told.splitlines() if each.startswith(f"Row {line}: refused")]
            self.assertIn(about, found)
        self.assertNotIn("Row 1:", told)
        self.assertEqual(self.stored(), before)
        self.assertFalse(Group.objects.filter(name="interns").exists())

    def test_a_name_that_is_taken_meanwhile_keeps_all_from_being_written(self) -> None:
        before = self.stored()
        plan = user_import.plan

        def raced(*args: Any, **options: Any) -> Any:
            changes = plan(*args, **options)
            register_user(username="Bob")
            return changes

        with mock.patch("accounts.management.commands.import_users.plan", raced):
            self.refused("bob,,interns\ncarol\n")
        self.assertEqual(self.stored(), {**before, "Bob": ("", [])})

    def test_what_is_no_text_or_no_table_is_refused(self) -> None:
        (self.folder / "bytes.csv").write_bytes(b"\xff\xfe\x00")
        for name in ("bytes.csv", "missing.csv"):
            with self.assertRaisesMessage(CommandError, "cannot be read"):
                call_command("import_users", str(self.folder / name))

    @override_settings(KEY_CACHE_SECONDS=60)
    def test_a_groups_limits_hold_for_who_is_put_into_it(self) -> None:
        self.addCleanup(clear_cache)
        SubjectLimits.objects.create(group=Group.objects.create(name="interns"), starts_per_minute=5)
        _, text = issue_api_key(user=self.alice)
        self.assertIsNone(principal_of_key(text).limits.account.starts_per_minute)
        with self.captureOnCommitCallbacks(execute=True):
            self.load("alice,,interns\n")
        self.assertIsNotNone(principal_of_key(text).limits.account.starts_per_minute)

    def test_a_row_costs_no_query_of_its_own(self) -> None:
        """Five thousand rows, which take about three seconds."""
        many = 1_000
        text = "".join(f"user-{number},u{number}@example.org,group-{number % 50}\n" for number in range(many))
        with CaptureQueriesContext(connection) as captured:
            self.assertEqual(self.load(text)[-1], f"{many} made, 0 changed, 0 unchanged, 0 refused.")
        self.assertLess(len(captured), many / 10)
        self.assertEqual(self.load(text), [f"0 made, 0 changed, {many} unchanged, 0 refused."])
        self.assertEqual(Group.objects.get(name="group-7").user_set.count(), many // 50)
