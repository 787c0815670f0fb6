"""`manage.py export_feedback [--output FILE]`: rated answers with their prompts, as JSONL, on stdout or in a file."""

from __future__ import annotations

import datetime as dt
import sys
from argparse import ArgumentTypeError
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from feedback.exporting import export_feedback
from feedback.models import Feedback
from foundation.ids import first_id_of


class Command(BaseCommand):
    help = (
        "Write rated answers for training and evaluation: a line of JSON for each, with the messages before the answer "
        "(prompt), the answer (completion), whether it was good (label), the comment and the model. The file contains "
        "what users said in private."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=_day, metavar="YYYY-MM-DD", help="the first day (UTC) of what was given")
        parser.add_argument("--until", type=_day, metavar="YYYY-MM-DD", help="the last day")
        parser.add_argument("--rating", choices=Feedback.Rating.values)
        parser.add_argument("--format", choices=["jsonl"], default="jsonl")
        parser.add_argument(
            "--output", type=Path, metavar="FILE", help="file to write instead of stdout; must not exist"
        )

    def handle(
        self,
        *args: Any,
        since: dt.datetime | None,
        until: dt.datetime | None,
        rating: str | None,
        output: Path | None,
        **options: Any,
    ) -> None:
        rows = Feedback.objects.all()
        if since:
            rows = rows.filter(id__gte=first_id_of(since))
        if until:
            rows = rows.filter(id__lt=first_id_of(until + dt.timedelta(days=1)))
        if rating:
            rows = rows.filter(rating=rating)
        try:
            stdout: Any = self.stdout._out
            with nullcontext(stdout) if output is None else output.open("x", encoding="utf-8") as file:
                file.writelines(export_feedback(rows))
        except FileExistsError as error:
            raise CommandError(f"{output} exists already.") from error
        except BrokenPipeError:  # `| head`
            sys.stdout = None  # otherwise Python would raise again when it flushes stdout at exit


def _day(text: str) -> dt.datetime:
    try:
        return dt.datetime.combine(dt.date.fromisoformat(text), dt.time(), dt.UTC)
    except ValueError:
        raise ArgumentTypeError(f"a day is written as 2026-11-01, not {text!r}") from None
