"""`manage.py import_history FILE... --user NAME`: import exports of ChatGPT, Claude and others into an account."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from accounts.management.lookup import find_account
from accounts.models import User
from conversations.import_files import TakenFiles
from conversations.importers import read_history, size_of
from conversations.importers.attached import find_attached
from conversations.importers.values import Broken, ImportedConversation, Skipped, Unreadable
from conversations.imports import Tally, import_batch, in_batches
from conversations.signals import import_finished

DESCRIPTION = """\
Import history: the zip, folder or conversations.json (also in numbered shards, or a file for each
conversation) of a ChatGPT or Claude export, or JSONL with a {"messages": [...]} a line. The format is detected from the
content. The pictures and files that messages refer to are taken along. Importing a newer export adds only what is
new. Messages can be searched as soon as they are indexed.
"""


class Command(BaseCommand):
    help = DESCRIPTION

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument("--user", required=True, help="username of the account to import into")
        parser.add_argument("--no-progress", action="store_true", help="show no progress bar")

    def handle(self, *args: Any, files: list[Path], user: str, no_progress: bool, **options: Any) -> None:
        owner = find_account(user)
        self.total = Tally()
        self.broken = self.taken = 0
        # A progress bar only on a terminal; a log or a pipe gets only the lines.
        with tqdm(
            total=sum(map(_size, files)), unit="B", unit_scale=True, disable=True if no_progress else None, leave=False
        ) as self.bar:
            for path in files:
                self._import(path, owner)
        self._report()
        import_finished.send(Tally, owner=owner, tally=self.total)
        if self.broken:
            raise CommandError(f"{self.broken} files could not be read completely, see above.")

    def _import(self, path: Path, owner: User) -> None:
        try:
            files = TakenFiles(owner=owner, attached=find_attached(path))
            for batch in in_batches(self._usable(read_history(path, **self._limits()))):
                with files.put_into(batch) as conversations:
                    tally = import_batch(owner=owner, conversations=conversations)
                for skipped in tally.skipped:
                    self._say_skipped(skipped)
                self.total.add(tally)
            self.taken += len(files.ids)
        except Unreadable as error:
            self._say_broken(Broken(str(path), str(error)))

    def _limits(self) -> dict[str, Any]:
        return {"largest": settings.LIMIT_IMPORT_BYTES or sys.maxsize, "on_read": self.bar.update}

    def _usable(self, found: Iterable[ImportedConversation | Skipped | Broken]) -> Iterator[ImportedConversation]:
        """Yield the conversations, and print what cannot be imported."""
        for each in found:
            match each:
                case Skipped():
                    self._say_skipped(each)
                case Broken():
                    self._say_broken(each)
                case _:
                    yield each

    def _say_skipped(self, skipped: Skipped) -> None:
        self.total.skipped.append(skipped)
        self._say(f"Skipped {skipped.label}: {skipped.reason}")

    def _say_broken(self, broken: Broken) -> None:
        self.broken += 1
        self._say(f"Not read: {broken.name}: {broken.reason}")

    def _say(self, line: str) -> None:
        self.bar.clear()
        # A title may contain a terminal's control sequences.
        self.stdout.write("".join(character if character.isprintable() else " " for character in line))
        self.bar.refresh()

    def _report(self) -> None:
        total = self.total
        self.stdout.write(
            f"{total.created} conversations imported, {total.grown} extended, {total.unchanged} unchanged, "
            f"{len(total.skipped)} skipped; {total.messages} messages added."
        )
        if self.taken:
            self.stdout.write(f"{self.taken} pictures and files stored.")
        if total.updated:
            self.stdout.write(f"{total.updated} messages of an earlier import were updated.")
        if total.left_out:
            kinds = sorted(total.left_out.items(), key=lambda each: (-each[1], each[0]))
            self.stdout.write(f"Left out: {', '.join(f'{kind} ({count})' for kind, count in kinds)}.")


def _size(path: Path) -> int:
    try:
        return size_of(path)
    except Unreadable:  # reported while the file is being read
        return 0
