"""`manage.py create_api_key NAME`: create a key for an account; the last line of stdout is only the secret."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.addresses import read_network
from accounts.management.lookup import find_account
from accounts.scopes import Scope, read_scopes
from accounts.services import issue_api_key


class Command(BaseCommand):
    help = "Create an API key for an account. It is shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the account's username")
        parser.add_argument("--label", default="", help="what the key is for")
        parser.add_argument("--days", type=int, help="how long it is valid")
        parser.add_argument(
            "--scopes",
            help=f"what the key may do, with commas between: {', '.join(Scope)}; everything by default",
        )
        parser.add_argument(
            "--networks", help="where it may be used from, such as 192.0.2.0/24,2001:db8::/32; anywhere by default"
        )
        parser.add_argument(
            "--may-change-credentials",
            action="store_true",
            help="allow the key to change username and password, and to create keys that outlive it",
        )

    def handle(
        self,
        *args: Any,
        name: str,
        label: str,
        days: int | None,
        scopes: str | None,
        networks: str | None,
        may_change_credentials: bool,
        **options: Any,
    ) -> None:
        user = find_account(name)
        try:
            named = read_scopes(scopes.split(",")) if scopes is not None else None
            within = [read_network(each) for each in networks.split(",")] if networks is not None else None
        except ValueError as error:
            raise CommandError(f"{error}.") from error
        expires = timezone.now() + dt.timedelta(days=days) if days else None
        key, text = issue_api_key(
            user=user,
            name=label,
            expires_at=expires,
            may_change_credentials=may_change_credentials,
            scopes=named,
            networks=within,
        )
        self.stdout.write(f"Key {key.kid} of {user.username}. Keep it safe: it is not shown again.")
        self.stdout.write(text)
