"""`manage.py serve`: migrate, print how to call the service, and serve; `make run` calls it."""

from __future__ import annotations

import os
import sys
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.utils.crypto import get_random_string

from accounts.connections import is_local_name
from accounts.models import User
from accounts.services import issue_api_key, register_user
from chatservice import __version__


class Command(BaseCommand):
    help = "Apply the migrations and serve on HOST:PORT. The first run creates a staff account and an API key."

    def get_version(self) -> str:
        """Return the output of `manage.py serve --version`; `manage.py --version` is Django's."""
        return f"chatservice {__version__}"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-migrate", action="store_true", help="do not apply migrations")

    def handle(self, *args: Any, no_migrate: bool, **options: Any) -> None:
        if not no_migrate:
            call_command("migrate", verbosity=0, interactive=False)
        host, port = settings.HOST, settings.PORT
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else shown}:{port}{settings.URL_PREFIX}"  # noqa: S104
        write = self.stdout.write
        if not User.objects.exists():
            self._introduce()
        write(f"Chat:     {address}/")
        write(f"Docs:     {address}/docs")
        if settings.ADMIN_ENABLED is True or (settings.ADMIN_ENABLED == "auto" and is_local_name(host)):
            write(f"Admin:    {address}/admin/")
        write(f"API:      {address}/v1   (OpenAI-compatible: set this as base_url)")
        if settings.DEFAULT_UPSTREAM == "echo":
            write(
                "Model:    echo, built in and offline. Set OPENAI_API_KEY or OPENAI_BASE_URL in .env to connect a "
                "real one."
            )
        else:
            upstream = urlsplit(settings.UPSTREAMS[settings.DEFAULT_UPSTREAM]["base_url"])
            write(f"Model:    {settings.DEFAULT_MODEL} at {upstream.hostname}")
        self.stdout.flush()
        # The server replaces this process: signals reach it, and nothing of the command stays in memory.
        os.execv(sys.executable, [sys.executable, "-m", "chatservice.server"])  # noqa: S606

    def _introduce(self) -> None:
        """Make the first account and key, and print the secrets that are shown only once."""
        password = get_random_string(20)
        user = register_user(username="admin", password=password, superuser=True)
        _, key = issue_api_key(user=user, name="first key")
        self.stdout.write("First run. Keep these, they are shown only once:")
        self.stdout.write(f"Staff:    {user.username}")
        self.stdout.write(f"Password: {password}")
        self.stdout.write(f"API key:  {key}")
