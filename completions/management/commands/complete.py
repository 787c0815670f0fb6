"""`manage.py complete PROMPT [--model M]`: answer one prompt in the shell, streamed to stdout. Nothing is stored."""

from __future__ import annotations

import asyncio
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from completions import providers
from completions.exceptions import ProviderError
from completions.types import CompletionRequest, Delta


class Command(BaseCommand):
    help = "Ask a model one question, to check that its server answers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("prompt")
        parser.add_argument("--model", default=settings.DEFAULT_MODEL)

    def handle(self, *args: Any, prompt: str, model: str, **options: Any) -> None:
        try:
            asyncio.run(self._answer(prompt, model))
        except ProviderError as error:
            raise CommandError(f"{error.code}: {error.message}") from error
        self.stdout.write("")

    async def _answer(self, prompt: str, model: str) -> None:
        provider, name = providers.provider_for(model)
        try:
            async for event in provider.stream(CompletionRequest(name, ({"role": "user", "content": prompt},))):
                if isinstance(event, Delta):
                    self.stdout.write(event.text, ending="")
                    self.stdout.flush()
        finally:
            await providers.close_all()
