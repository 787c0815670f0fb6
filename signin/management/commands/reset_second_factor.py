"""manage.py reset_second_factor USERNAME"""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.erasure import delete_sessions
from accounts.models import User


class Command(BaseCommand):
    help = "Remove an account's authenticator app, passkeys and recovery codes, and sign it out everywhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *arguments: Any, **options: Any) -> None:
        user = User.objects.named(options["username"])
        if user is None:
            raise CommandError(f"There is no account {options['username']}.")
        Authenticator.objects.filter(user=user).delete()
        delete_sessions([user.pk])
        self.stdout.write(f"{user.username} has no second factor any more, and has to sign in again.")
