"""`manage.py accept_key_pepper`: continue with another KEY_PEPPER; keys made under the former one stay invalid."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from accounts import fingerprints
from accounts.models import ApiKey


class Command(BaseCommand):
    help = "Accept the current KEY_PEPPER for this database. API keys created under the former one do not work with it."

    def handle(self, *args: Any, **options: Any) -> None:
        if not fingerprints.differs(fingerprints.KEY_PEPPER):
            self.stdout.write("KEY_PEPPER is already the one of this database.")
            return
        fingerprints.store(fingerprints.KEY_PEPPER, replace=True)
        lost = ApiKey.objects.usable().count()
        self.stdout.write(f"KEY_PEPPER is accepted; {lost} API keys were created under the former one and do not work.")
