"""`manage.py export_history [--user NAME | --conversation ID]`: history as text, on stdout or in a file."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.guests import as_id
from accounts.management.lookup import find_account
from conversations.exporters import Format, export_conversation, export_conversations
from conversations.models import Conversation, ConversationQuerySet


class Command(BaseCommand):
    help = (
        "Write conversations in ChatGPT's format (which import_history restores completely), as Markdown or as JSONL."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group()
        whose.add_argument("--user", help="username of one account; without it, all accounts")
        whose.add_argument("--conversation", metavar="ID", help="id of one conversation")
        parser.add_argument("--format", choices=[str(each) for each in Format], default=str(Format.CHATGPT))
        parser.add_argument(
            "--output", type=Path, metavar="FILE", help="file to write instead of stdout; must not exist"
        )

    def handle(
        self, *args: Any, user: str | None, conversation: str | None, format: str, output: Path | None, **options: Any
    ) -> None:
        if conversation is not None:
            pk = as_id(conversation)
            row = None if pk is None else Conversation.objects.filter(pk=pk).first()
            if row is None:
                raise CommandError(f"There is no conversation {conversation!r}.")
            pieces = export_conversation(row, format)
        else:
            pieces = export_conversations(_conversations_of(user), format)
        try:
            stdout: Any = self.stdout._out
            with nullcontext(stdout) if output is None else output.open("x", encoding="utf-8") as file:
                file.writelines(pieces)
        except FileExistsError as error:
            raise CommandError(f"{output} exists already.") from error
        except BrokenPipeError:  # `| head`
            sys.stdout = None  # otherwise Python would raise again when it flushes stdout at exit


def _conversations_of(name: str | None) -> ConversationQuerySet:
    if name is None:
        return Conversation.objects.all()
    return Conversation.objects.filter(owner=find_account(name))
