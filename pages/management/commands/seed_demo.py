"""Fill an empty service with demo users and conversations, to try the admin, the search and the chat page."""

from __future__ import annotations

import secrets
import sys
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import Permission
from django.core.management import call_command, get_commands
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from tqdm import tqdm

from accounts.models import User
from accounts.services import delete_user, register_user
from accounts.usernames import username_key
from conversations.models import AccessLogEntry, Conversation, Message, Todo
from pages.demo.topics import talks
from pages.demo.writing import Writer

PEOPLE = ("demo-alice", "demo-bob", "demo-chen", "demo-dana")
READER, CLERK = "demo-staff", "demo-clerk"
STAFF_VIEWS = ("view_user", "view_apikey", "view_conversation", "view_run", "view_accesslogentry")


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--replace", action="store_true", help="delete the demo's accounts first, with everything they own"
        )
        parser.add_argument("--no-index", action="store_true", help="leave the indexing to the running service")

    def handle(self, *args: Any, **options: Any) -> None:
        known = User.objects.filter(username_key__in=map(username_key, (*PEOPLE, READER, CLERK)))
        if known.exists() and not options["replace"]:
            raise CommandError("The demo data exists already. --replace deletes and recreates it.")
        for user in known:
            delete_user(user=user)
        passwords, users = self._people()
        people = [users[name] for name in PEOPLE]
        writer = Writer(people)
        conversations: list[Conversation] = []
        for talk in tqdm(list(talks()), unit=" talks", file=sys.stderr, disable=None):
            conversations.append(writer.write(talk))
        Todo.objects.bulk_create(writer.todos(conversations))
        AccessLogEntry.objects.bulk_create(writer.access_log(conversations, users[READER]))
        written = Message.objects.filter(conversation__owner__in=people).count()
        self.stdout.write(f"{len(conversations)} conversations, {written} messages.")
        if not options["no_index"] and "index_messages" in get_commands():
            call_command("index_messages", stdout=self.stdout, stderr=self.stderr)
        self.stdout.write("\nSign in with (shown once):")
        about = {READER: "staff: reads content with a reason", CLERK: "staff: sees metadata only"}
        for name, password in passwords.items():
            self.stdout.write(f"  {name:<12} {password}   {about.get(name, '')}".rstrip())

    @transaction.atomic
    def _people(self) -> tuple[dict[str, str], dict[str, User]]:
        # A new password each time: one that everybody can read in the source would open a forgotten demo.
        passwords = {name: secrets.token_urlsafe(9) for name in (*PEOPLE, READER, CLERK)}
        users = {
            name: register_user(username=name, password=password, staff=name in (READER, CLERK))
            for name, password in passwords.items()
        }
        views = Permission.objects.filter(codename__in=STAFF_VIEWS)
        users[CLERK].user_permissions.add(*views)
        more = Permission.objects.filter(codename__in=("read_content", "change_conversation", "delete_conversation"))
        users[READER].user_permissions.add(*views, *more)
        return passwords, users
