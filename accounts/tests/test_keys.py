"""The text of a key: its format, the errors its checksum detects, and what the database stores of it."""

from __future__ import annotations

import random
import string

from django.test import SimpleTestCase, TestCase, override_settings

from accounts import keys
from accounts.models import ApiKey
from accounts.services import issue_api_key, register_user


class KeyTextTest(SimpleTestCase):
    def test_a_key_is_read_back_into_its_parts(self):
        key, text = keys.generate()
        self.assertEqual(keys.parse(text), key)
        self.assertRegex(text, r"\Acb_[A-Za-z0-9]{8}_[A-Za-z0-9]{43}[a-z0-9]{6}\Z")

    def test_two_keys_are_never_alike(self):
        self.assertEqual(len({keys.generate()[1] for _ in range(200)}), 200)

    def test_the_checksum_catches_every_single_wrong_character(self):
        _, text = keys.generate()
        for at, right in enumerate(text):
            wrong = random.choice([each for each in string.ascii_letters + string.digits if each != right])
            self.assertIsNone(keys.parse(text[:at] + wrong + text[at + 1 :]), at)

    def test_what_only_resembles_a_key_is_none(self):
        _, text = keys.generate()
        for other in ("", "cb_", text[:-1], text + "a", text + "\n", " " + text, text.upper(), text.swapcase()):
            self.assertIsNone(keys.parse(other), other)

    def test_the_digest_depends_on_secret_and_pepper(self):
        first = keys.digest("one")
        self.assertEqual(first, keys.digest("one"))
        self.assertNotEqual(first, keys.digest("two"))
        with override_settings(KEY_PEPPER="another pepper, long enough to be one"):
            self.assertNotEqual(first, keys.digest("one"))


class StoredKeyTest(TestCase):
    def test_nothing_in_the_row_opens_anything(self):
        alice = register_user(username="alice")
        key, text = issue_api_key(user=alice, name="laptop")
        parsed = keys.parse(text)
        assert parsed is not None
        row = ApiKey.objects.filter(pk=key.pk).values().get()
        for name, value in row.items():
            self.assertNotIn(parsed.secret, str(value), name)
            self.assertNotIn(text, str(value), name)
        self.assertEqual(row["digest"], keys.digest(parsed.secret))
        self.assertNotIn(parsed.secret, f"{key!r} {key}")
