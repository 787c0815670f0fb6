"""`manage.py doctor`: look at everything that can be wrong with this installation, and say how to mend it."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from chatservice.findings import report


class Command(BaseCommand):
    help = "Look at everything that can be wrong, and say how to mend it. The exit code is 1 if anything fails."
    requires_system_checks = ()  # they are among what it looks at

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print a JSON array")

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        from chatservice.doctor import diagnose

        sys.exit(report(diagnose(), as_json=json))
