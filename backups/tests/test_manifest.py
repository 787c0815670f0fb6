"""Every bit of a backup is checked, and so is what should not be there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from django.test import SimpleTestCase

from backups.exceptions import BackupError
from backups.manifest import SUMS, Manifest, check_sums, digest_of, read_manifest, write_manifest
from backups.postgresql_tools import find_tool
from chatservice.testing import tried_on


@tried_on("sqlite")
class ManifestTest(SimpleTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        names = ("database.sqlite3", f"files/{'a' * 32}/name with  spaces")
        for name in names:
            (self.folder / name).parent.mkdir(exist_ok=True, parents=True)
            (self.folder / name).write_bytes(name.encode())
        self.manifest = Manifest(
            *("2026.11.0", "database.sqlite3", "SQLite", "2026-11-29", 1.5, ["a.b"], {"t": 1}, 0, 0, [], []),
        )
        write_manifest(self.folder, self.manifest, {name: digest_of(self.folder / name) for name in names})

    def test_every_bit_counts(self) -> None:
        self.assertEqual(read_manifest(self.folder), self.manifest)
        self.assertEqual(len(check_sums(self.folder)), 3)
        unnoticed = []
        for path in [each for each in self.folder.rglob("*") if each.is_file()]:
            whole = path.read_bytes()
            for bit in range(8 * len(whole)):
                changed = bytearray(whole)
                changed[bit // 8] ^= 1 << bit % 8
                path.write_bytes(changed)
                if self.is_whole():
                    unnoticed.append((path.name, bit))
            path.write_bytes(whole)
        self.assertEqual(unnoticed, [])

    def is_whole(self) -> bool:
        try:
            check_sums(self.folder)
        except BackupError:
            return False
        return True

    def test_what_is_missing_too_much_or_cut_off_is_found(self) -> None:
        (self.folder / "more").touch()
        with self.assertRaisesMessage(BackupError, "more does not belong there"):
            check_sums(self.folder)
        (self.folder / "more").unlink()
        (self.folder / "database.sqlite3").rename(self.folder.parent / "gone").unlink()
        with self.assertRaisesMessage(BackupError, "database.sqlite3 is missing"):
            check_sums(self.folder)
        sums = (self.folder / SUMS).read_text()
        for length in range(len(sums)):
            (self.folder / SUMS).write_text(sums[:length])
            with self.assertRaises(BackupError):
                check_sums(self.folder)

    def test_what_to_install_is_said(self) -> None:
        with self.assertRaisesMessage(BackupError, "apt-get install postgresql-client-99"):
            find_tool("pg_dump", 99)
