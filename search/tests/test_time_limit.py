"""On PostgreSQL, requests have a statement time limit, and migrations of large tables have none."""

from __future__ import annotations

from typing import Any
from unittest import skipUnless

from django.core.management import call_command
from django.db import connection
from django.db.models.signals import pre_migrate
from django.test import TestCase

from search.backends import backend


@skipUnless(connection.vendor == "postgresql", "SQLite has no limit")
class TimeLimitTest(TestCase):
    def limit(self) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return str(cursor.fetchone()[0])

    def test_migrations_and_the_indexes_made_after_them_have_none(self):
        seen: list[str] = []

        def look(sender: Any, **kwargs: Any) -> None:
            if sender.name == "search":
                seen.append(self.limit())

        install = backend().install

        def look_and_install() -> bool:
            seen.append(self.limit())
            return install()

        usual = self.limit()
        self.assertEqual(usual, "10s")
        pre_migrate.connect(look)
        self.addCleanup(pre_migrate.disconnect, look)
        backend().install = look_and_install  # type: ignore[method-assign]
        self.addCleanup(delattr, backend(), "install")
        call_command("migrate", verbosity=0)
        self.assertEqual((seen, self.limit()), (["0", "0"], usual))
