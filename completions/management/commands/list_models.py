"""`manage.py list_models`: what the configured upstreams offer; the quickest test of a configuration."""

from __future__ import annotations

import asyncio

from django.core.management.base import BaseCommand

from completions import providers
from completions.types import ModelInfo


class Command(BaseCommand):
    help = "List the models that can be asked."

    def handle(self, *args, **options):
        for model in asyncio.run(self._models()):
            self.stdout.write(f"{model.id}\t{model.owned_by}")

    async def _models(self) -> list[ModelInfo]:
        try:
            return await providers.list_models()
        finally:
            await providers.close_all()
