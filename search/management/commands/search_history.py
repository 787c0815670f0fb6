"""`manage.py search_history QUERY --user NAME`: show in the shell what a search finds."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.callers import Principal
from accounts.models import User
from search.embedders import CannotEmbed, loading
from search.queries import Filters, Hit, InvalidCursor, Mode, search_everybody, search_messages

BOLD, PLAIN = "\033[1m", "\033[0m"


class Command(BaseCommand):
    help = "Search the messages of one user, or of everybody."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("query")
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--user", help="whose messages to search, by username")
        whose.add_argument("--everybody", action="store_true", help="search the messages of all users")
        parser.add_argument("--mode", choices=[str(mode) for mode in Mode], default=str(Mode.HYBRID))
        parser.add_argument("--role", action="append", default=[], help="only this role; may be repeated")
        parser.add_argument("--limit", type=int, default=10)
        parser.add_argument("--cursor", default="", help="the cursor that the previous page printed")

    def handle(
        self, *args: Any, query: str, user: str | None, mode: str, role: list[str], limit: int, cursor: str, **o: Any
    ) -> None:
        if mode != Mode.TEXT:
            try:
                loading.current()
            except CannotEmbed as error:
                self.stderr.write(f"Searching by words only: {error}")
        search = partial(search_messages, self._principal(user)) if user else search_everybody
        try:
            found = search(query, mode=Mode(mode), filters=Filters(roles=tuple(role)), limit=limit, cursor=cursor)
        except InvalidCursor as error:
            raise CommandError(str(error)) from error
        for hit in found.hits:
            self._write(hit)
        why = f" ({found.why})" if found.why else ""
        without = f", without {', '.join(found.excluded)}" if found.excluded else ""
        self.stdout.write(f"{len(found.hits)} found by {found.mode}{why}{without} in {found.took_ms:.0f} ms")
        if found.next_cursor:
            self.stdout.write(f"More: --cursor {found.next_cursor}")

    def _principal(self, username: str) -> Principal:
        account = User.objects.named(username)
        if account is None:
            raise CommandError(f"There is no user {username!r}.")
        return Principal(user_id=account.pk, username=account.username, is_guest=account.guest_made)

    def _write(self, hit: Hit) -> None:
        message, marked, at = hit.message, "", 0
        on, off = (BOLD, PLAIN) if self.stdout.isatty() else ("[", "]")
        for start, end in hit.highlights:
            marked += f"{hit.snippet[at:start]}{on}{hit.snippet[start:end]}{off}"
            at = end
        marked += hit.snippet[at:]
        version = "" if hit.shown else ", another version"
        title = message.conversation.title or message.conversation_id
        who = message.author or message.role
        why = hit.matched if hit.found else "nearest"
        self.stdout.write(f"{hit.score:.3f} {why}  {title} ({message.created_at:%Y-%m-%d %H:%M}, {who}{version})")
        self.stdout.write(f"      {' '.join(marked.split())}\n      message {message.pk}")
