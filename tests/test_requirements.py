"""The lock agrees with requirements.txt, and the check would notice if it did not."""

from __future__ import annotations

import re

from django.test import SimpleTestCase

from scripts.check_lock import LOCKS, ROOT, problems


class LockTest(SimpleTestCase):
    def setUp(self) -> None:
        self.wanted = (ROOT / "requirements.txt").read_text()
        self.locked = "".join((ROOT / name).read_text() for name in LOCKS)

    def assert_found(self, *sentences: str, wanted: str = "", locked: str = "") -> None:
        found = problems(wanted or self.wanted, [locked or self.locked])
        self.assertEqual([each for each in sentences if not any(each in line for line in found)], [], found)
        self.assertEqual(bool(found), bool(sentences), found)

    def test_they_agree(self):
        self.assert_found()
        self.assertEqual(
            {line.split()[0] for line in self.locked.splitlines() if line[:1] == " "} - {"#"}, self.digests()
        )

    def digests(self) -> set[str]:
        return set(re.findall(r"--hash=sha256:[0-9a-f]{64}", self.locked))

    def test_another_version_is_noticed(self):
        self.assert_found("Django==5.2.0 is wanted", wanted=re.sub(r"Django==\S+", "Django==5.2.0", self.wanted))
        torch = re.sub(r"torch==\S+", "torch==2.12.0", self.wanted)
        self.assert_found("torch==2.12.0 is wanted, 2.13.0+cpu is locked", wanted=torch)

    def test_what_is_missing_or_left_over_is_noticed(self):
        without = re.sub(r"^asgiref==.*?(?=^\w)", "", self.locked, flags=re.MULTILINE | re.DOTALL)
        self.assert_found("asgiref", locked=without)
        self.assert_found("pytest==9.2.0 is missing", wanted=f"{self.wanted}\npytest==9.2.0\n")
        self.assert_found("pypdf is not needed", wanted=re.sub(r"pypdf==\S+", "", self.wanted))

    def test_a_package_without_digest_is_noticed(self):
        bare = re.sub(r"^(asgiref==\S+) \\\n.*?(?=^\w)", r"\1\n", self.locked, flags=re.MULTILINE | re.DOTALL)
        self.assert_found("asgiref has no digest", locked=bare)
