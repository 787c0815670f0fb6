"""`manage.py create_user NAME [--password P] [--staff]`: an account, from the shell."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from accounts.services import register_user


class Command(BaseCommand):
    help = "Create an account. Without a password it can only be used by key."

    def add_arguments(self, parser):
        parser.add_argument("name")
        parser.add_argument("--password")
        parser.add_argument("--staff", action="store_true", help="may sign in to the admin, with all permissions")

    def handle(self, *args, name: str, password: str | None, staff: bool, **options):
        try:
            user = register_user(username=name, password=password, superuser=staff)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        self.stdout.write(f"Created {'staff account' if staff else 'account'} {user.username} ({user.id}).")
