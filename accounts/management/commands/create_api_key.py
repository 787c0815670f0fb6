"""`manage.py create_api_key NAME`: create a key for an account; the last line of stdout is only the secret."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from accounts.management.lookup import find_account
from accounts.services import issue_api_key


class Command(BaseCommand):
    help = "Create an API key for an account. It is shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the account's username")
        parser.add_argument("--label", default="", help="what the key is for")
        parser.add_argument("--days", type=int, help="how long it is valid")
        parser.add_argument(
            "--may-change-credentials",
            action="store_true",
            help="allow the key to change username and password, and to create keys that outlive it",
        )

    def handle(
        self, *args: Any, name: str, label: str, days: int | None, may_change_credentials: bool, **options: Any
    ) -> None:
        user = find_account(name)
        expires = timezone.now() + dt.timedelta(days=days) if days else None
        key, text = issue_api_key(
            user=user, name=label, expires_at=expires, may_change_credentials=may_change_credentials
        )
        self.stdout.write(f"Key {key.kid} of {user.username}. Keep it safe: it is not shown again.")
        self.stdout.write(text)
