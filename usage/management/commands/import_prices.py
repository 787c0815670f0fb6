"""`manage.py import_prices FILE`: import prices of models from CSV or from the JSON that LiteLLM publishes."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from usage.price_files import (
    LITELLM_CURRENCY,
    Defaults,
    PriceFile,
    Problem,
    UnreadablePrices,
    is_litellm,
    moment_of,
    read_prices,
)
from usage.services import Change, ImportReport, PricesHaveBegun, import_prices

MAX_BYTES = 67_108_864
SHOWN = 20

DESCRIPTION = """\
Import prices of models: CSV with a header row (model, input, output, and optionally upstream, currency, cached_input,
reasoning, per_image, per_request, max_output_tokens, valid_from; prices per million tokens), or the file
model_prices_and_context_window.json of LiteLLM. All rows are stored, or none. A model whose price is the same gets no
row, so a file can be imported again.
"""


class Command(BaseCommand):
    help = DESCRIPTION

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--dry-run", action="store_true", help="report what would change, and store nothing")
        parser.add_argument(
            "--valid-from", metavar="DATE", help="when the prices begin: 2026-12-01, or a time; by default now"
        )
        parser.add_argument(
            "--currency", help="of rows without one; by default CURRENCY for CSV, and USD for LiteLLM's file"
        )
        parser.add_argument(
            "--upstream",
            action="append",
            default=[],
            metavar="PROVIDER=NAME",
            help="what a provider in LiteLLM's file is called in UPSTREAMS, if not the same; repeatable",
        )
        parser.add_argument("--all", action="store_true", help=f"list all that is new, not only {SHOWN}")

    def handle(self, *args: Any, file: Path, dry_run: bool, **options: Any) -> None:
        content = _content(file)
        currency = _currency(options["currency"], content)
        defaults = Defaults(currency, _moment(options["valid_from"]), _upstreams(options["upstream"]))
        try:
            found = read_prices(content, defaults)
        except UnreadablePrices as error:
            raise CommandError(f"{file} cannot be read: {error}") from None
        self._refuse(found.problems)
        try:
            report = import_prices(prices=found.prices, dry_run=dry_run)
        except PricesHaveBegun as error:
            self._refuse(error.problems)
        else:
            self._report(found, report, dry_run=dry_run, shown=None if options["all"] else SHOWN)

    def _refuse(self, problems: list[Problem]) -> None:
        if problems:
            for problem in problems:
                self._say(str(problem))
            raise CommandError(f"Nothing is imported. Wrong values, see above: {len(problems)}.")

    def _report(self, found: PriceFile, report: ImportReport, *, dry_run: bool, shown: int | None) -> None:
        self._list("New", report.new, shown)
        self._list("Changed", report.changed, None)
        if found.without_token_price:
            self.stdout.write(f"Models without a price for tokens, left out: {found.without_token_price}.")
        if found.with_more_prices:
            self.stdout.write(
                f"Models that cost more beyond a number of tokens, without that price: {found.with_more_prices}."
            )
        others = {price.currency for _, price in found.prices} - {settings.CURRENCY}
        if others:
            self.stdout.write(
                f"Prices in {', '.join(sorted(others))} do not apply, since CURRENCY is {settings.CURRENCY}."
            )
        self.stdout.write(
            f"{'Would be imported' if dry_run else 'Imported'}: {len(report.new)} new, {len(report.changed)} changed, "
            f"{report.unchanged} unchanged."
        )

    def _list(self, title: str, changes: list[Change], shown: int | None) -> None:
        for change in changes[:shown]:
            self._say(f"{title}: {change}")
        if shown is not None and len(changes) > shown:
            self.stdout.write(f"{title}: {len(changes) - shown} more (--all lists them)")

    def _say(self, line: str) -> None:
        # A name in a file may contain a terminal's control sequences.
        self.stdout.write("".join(character if character.isprintable() else " " for character in line))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > MAX_BYTES:
        raise CommandError(f"{path} has more than {MAX_BYTES:,} bytes: this is no file of prices.")
    return content


def _currency(given: str | None, content: bytes) -> str:
    currency: str = (given or (LITELLM_CURRENCY if is_litellm(content) else settings.CURRENCY)).upper()
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise CommandError("--currency must be a code of three letters, for example USD or EUR.")
    return currency


def _moment(given: str | None) -> dt.datetime:
    try:
        return moment_of(given) if given else timezone.now()
    except ValueError as error:
        raise CommandError(f"--valid-from {error}.") from None


def _upstreams(given: list[str]) -> dict[str, str]:
    """Return the upstream of each provider: the one of the same name, or the one that an option names."""
    upstreams = {name: name for name in settings.UPSTREAMS}
    for pair in given:
        provider, equals, name = pair.partition("=")
        if not (provider and equals) or name not in settings.UPSTREAMS:
            raise CommandError(f"--upstream takes PROVIDER=NAME, with a NAME in UPSTREAMS, not {pair!r}.")
        upstreams[provider] = name
    return upstreams
