"""`manage.py list_models`: list the models of the configured upstreams; the quickest test of a configuration."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from completions import providers
from completions.exceptions import ProviderError
from completions.types import ModelInfo


class Command(BaseCommand):
    help = "List the available models."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--upstreams",
            action="store_true",
            help="list the upstreams instead, in the order they are tried, with their state",
        )

    def handle(self, *args: Any, upstreams: bool = False, **options: Any) -> None:
        if upstreams:
            for line in asyncio.run(self._upstreams()):
                self.stdout.write(line)
            return
        for model in asyncio.run(self._models()):
            self.stdout.write(f"{model.id}\t{model.owned_by}")

    async def _models(self) -> list[ModelInfo]:
        try:
            return await providers.list_models()
        finally:
            await providers.close_all()

    async def _upstreams(self) -> list[str]:
        names = sorted(providers.upstream_names(), key=lambda name: _config(name).get("priority") or 0)
        try:
            return await asyncio.gather(*map(self._upstream, names))
        finally:
            await providers.close_all()

    async def _upstream(self, name: str) -> str:
        config = _config(name)
        try:
            state = f"{len(await providers.list_upstream(name))} models"
        except ProviderError as error:
            state = error.code
        except TimeoutError:
            state = "no answer"
        host = urlsplit(config.get("base_url") or "").netloc.rpartition("@")[2] or "built in"
        answers = " ".join(config.get("models") or ())
        if name == settings.DEFAULT_UPSTREAM:
            answers = f"{answers} (all others)".strip()
        return f"{name}\t{host}\t{answers}\t{state}"


def _config(name: str) -> dict[str, Any]:
    return settings.UPSTREAMS.get(name, {})
