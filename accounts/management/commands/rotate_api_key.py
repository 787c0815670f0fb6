"""`manage.py rotate_api_key PREFIX`: replace a key; the last line of stdout is only the new secret."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import ApiKey
from accounts.rotation import MAX_OVERLAP_HOURS, OVERLAP_HOURS, NotRotatable, rotate_api_key


class Command(BaseCommand):
    help = "Create the successor of an API key, with the same rights. The old key keeps working for some hours."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prefix", help="the beginning of the key: cb_ and the 8 characters after it")
        parser.add_argument(
            "--overlap-hours",
            type=int,
            default=OVERLAP_HOURS,
            help=f"for how long the old key keeps working: 0 to {MAX_OVERLAP_HOURS}, {OVERLAP_HOURS} by default",
        )

    def handle(self, *args: Any, prefix: str, overlap_hours: int, **options: Any) -> None:
        if not 0 <= overlap_hours <= MAX_OVERLAP_HOURS:
            raise CommandError(f"--overlap-hours is a number from 0 to {MAX_OVERLAP_HOURS}.")
        old = ApiKey.objects.filter(kid=prefix.removeprefix("cb_")[:8]).select_related("user").first()
        if old is None:
            raise CommandError("There is no key with this prefix: the admin and the profile show the prefixes.")
        try:
            key, text = rotate_api_key(key=old, overlap_hours=overlap_hours)
        except NotRotatable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Key {key.kid} of {old.user.username} replaces {old.kid}. Keep it safe: it is not shown again."
        )
        self.stdout.write(text)
