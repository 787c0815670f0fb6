"""Which usernames count as the same, and that any spelling of a name finds its account."""

from __future__ import annotations

import importlib
import uuid

from django.apps import apps
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from accounts.checks import usernames_are_told_apart
from accounts.models import User
from accounts.services import guest_user, register_user, update_user
from accounts.usernames import duplicate_key, username_key, validate_username

PASSWORD = "correct horse battery"
# Case, width, a Cyrillic а, a Greek capital Alpha, a dotless i, Cherokee letters, mathematical letters.
ALICES = ("Alice", "ALICE", "ａｌｉｃｅ", "аlice", "ΑLICE", "alıce", "ᎪLICE", "𝐚𝐥𝐢𝐜𝐞")


class UsernameKeyTest(SimpleTestCase):
    def test_spellings_that_look_alike_have_one_key(self):
        self.assertEqual({username_key(name) for name in ALICES}, {"alice"})
        pairs = [("paypal", "раураl"), ("straße", "STRASSE"), ("cafe\u0301", "CAFÉ"), ("œuvre", "oeuvre")]
        pairs += [("ТОМ", "Tom"), ("том", "TOM")]  # their capitals look alike
        for one, other in pairs:
            self.assertEqual(username_key(one), username_key(other), other)

    def test_names_that_differ_keep_different_keys(self):
        names = (
            "alice",
            "alicе1",
            "user1",
            "userl",
            "useri",
            "cafe",
            "café",
            "王",
            "玉",
            "наташа",
            "иван",
            "a.b",
            "a_b",
        )
        self.assertEqual(len({username_key(name) for name in names}), len(names))

    def test_a_key_is_its_own_key(self):
        for name in (*ALICES, "straße", "пользователь", "ᎪᏞᏆᏟᎬ", "王", "σς", "ﷺ", "x" * 150, "ΐ" * 150):
            self.assertEqual(username_key(username_key(name)), username_key(name), name)
            self.assertLessEqual(len(duplicate_key(name, uuid.uuid4())), 500)

    def test_every_character_has_a_key(self):
        for code in (*range(0x3000), *range(0xF900, 0x11000), *range(0x1D400, 0x1D800)):
            if not 0xD800 <= code < 0xE000:
                username_key(f"a{chr(code)}b")

    def test_what_precis_refuses_is_no_username(self):
        for name in ("a\u200db", "a\u202eb", "אa", "a b", "", "a\u0000", "❤"):
            with self.assertRaises(ValidationError, msg=repr(name)):
                validate_username(name)
        for name in ("alice", "Ａlice", "אב", "王", "user.name+x@y-_z", "пользователь"):
            validate_username(name)


class UniqueNamesTest(TestCase):
    def test_a_name_that_looks_like_another_is_taken(self):
        register_user(username="Alice")
        for name in ALICES:
            with self.assertRaises(ValidationError) as caught:
                register_user(username=name)
            self.assertIn("unique", {error.code for error in caught.exception.error_dict["username"]}, name)
        self.assertEqual(User.objects.filter(guest_made=False).count(), 1)

    def test_the_database_holds_it_when_two_ask_at_once(self):
        register_user(username="alice")
        with self.assertRaises(IntegrityError), transaction.atomic():
            User.objects.create(username="ALICE")

    def test_renaming_is_held_to_it_and_changing_ones_own_case_is_not(self):
        alice, bob = register_user(username="alice"), register_user(username="bob")
        with self.assertRaises(ValidationError):
            update_user(user=bob, username="Аlice")
        update_user(user=alice, username="Alice")
        alice.refresh_from_db()
        self.assertEqual((alice.username, alice.username_key), ("Alice", "alice"))
        alice.username = "Carol"
        alice.save(update_fields=["username"])
        self.assertEqual(User.objects.get(pk=alice.pk).username_key, "carol")

    def test_a_name_that_grows_when_it_is_normalised_is_too_long(self):
        """This one character is normalised to eighteen, so 150 of them exceed the limit of 150 characters."""
        with self.assertRaises(ValidationError):
            register_user(username="ﷺ" * 150)

    def test_any_spelling_finds_the_account_and_signs_it_in_by_one_look_up(self):
        alice = register_user(username="Alice", password=PASSWORD)
        for name in ALICES:
            with self.assertNumQueries(1):
                self.assertEqual(User.objects.named(name), alice, name)
            self.assertEqual(authenticate(username=name, password=PASSWORD), alice, name)
        self.assertIsNone(User.objects.named("alicia"))
        self.assertIsNone(authenticate(username="alicia", password=PASSWORD))

    def test_somebody_called_guest_in_any_spelling_is_no_guest(self):
        register_user(username="GUEST")
        guest = guest_user()
        self.assertEqual((guest.username, guest.guest_made), ("guest (anonymous)", True))
        self.assertEqual(guest_user(), guest)


class MigrationTest(TransactionTestCase):
    """Existing accounts: nobody is renamed, the oldest account keeps the plain key, and the others are reported."""

    def test_accounts_of_one_name_are_told_apart_and_reported(self):
        old = [User.objects.create(username=name) for name in ("first", "second", "third", "other", "not a name!")]
        self.forget_keys()
        for user, name in zip(old, ("Alice", "alice", "ALICE", "bob", "not a name!"), strict=True):
            User.objects.filter(pk=user.pk).update(username=name)
        self.fill()
        keys = [User.objects.get(pk=user.pk).username_key for user in old]
        second, third = (f"alice#{user.pk.hex}" for user in old[1:3])
        self.assertEqual(keys, ["alice", second, third, "bob", "not a name!"])
        names = set(User.objects.filter(pk__in=[user.pk for user in old]).values_list("username", flat=True))
        self.assertEqual(names, {"Alice", "alice", "ALICE", "bob", "not a name!"})
        for user, name in zip(old, ("Alice", "alice", "ALICE"), strict=False):
            self.assertEqual(User.objects.named(name), user)  # each account is found by its exact spelling
        [warning] = usernames_are_told_apart(None, ["default"])
        self.assertIn("alice, ALICE", warning.msg)
        second_one = User.objects.get(pk=old[1].pk)
        second_one.is_active = False
        second_one.full_clean(exclude=["password", "username_key"])  # staff can still edit it
        second_one.save()
        update_user(user=second_one, username="alice2")
        self.assertEqual(User.objects.get(pk=old[1].pk).username_key, "alice2")

    def test_guests_accounts_get_their_maker(self):
        guest = guest_user()
        made = User.objects.create(username="made", guest_made=True)
        other = User.objects.create(username="other")
        self.forget_keys()
        self.fill()
        found = {user.pk: user for user in User.objects.all()}
        self.assertEqual((found[made.pk].created_by, found[made.pk].limits_owner), (guest, guest))
        for user in (guest, other):
            self.assertEqual((found[user.pk].created_by, found[user.pk].limits_owner), (None, None))

    def forget_keys(self) -> None:
        """Restore the table's state before the migration: keys may be missing or duplicated."""
        [constraint] = User._meta.constraints
        with connection.schema_editor() as editor:
            editor.remove_constraint(User, constraint)
        self.addCleanup(self.restore)
        User.objects.update(username_key=None)

    def restore(self) -> None:
        User.objects.all().delete()
        [constraint] = User._meta.constraints
        with connection.schema_editor() as editor:
            editor.add_constraint(User, constraint)

    def fill(self) -> None:
        migration = importlib.import_module("accounts.migrations.0005_fill_username_keys")
        setattr(migration, "BATCH", 2)  # noqa: B010  a module that mypy does not know
        self.addCleanup(setattr, migration, "BATCH", 500)
        with connection.schema_editor(atomic=False) as editor:
            migration.fill(apps, editor)
