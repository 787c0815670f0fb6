"""`manage.py create_api_key NAME`: a key for an account; the secret alone on the last line of stdout."""

from __future__ import annotations

import datetime as dt

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.models import User
from accounts.services import issue_api_key


class Command(BaseCommand):
    help = "Create an API key for an account. It is shown once."

    def add_arguments(self, parser):
        parser.add_argument("name", help="the account's username")
        parser.add_argument("--label", default="", help="what the key is for")
        parser.add_argument("--days", type=int, help="how long it is valid")

    def handle(self, *args, name: str, label: str, days: int | None, **options):
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no account {name!r}; make one with: manage.py create_user {name}")
        expires = timezone.now() + dt.timedelta(days=days) if days else None
        key, text = issue_api_key(user=user, name=label, expires_at=expires)
        self.stdout.write(f"Key {key.kid} of {user.username}. Keep it safe: it is not shown again.")
        self.stdout.write(text)
