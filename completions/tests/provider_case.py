"""A provider in front of the fault-injecting upstream, and its events. The model's name selects the behaviour."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import IsolatedAsyncioTestCase

from completions import exceptions as x
from completions.providers.http_provider import HTTPProvider
from completions.providers.openai_compatible import OpenAICompatible
from completions.tests.upstream import FaultyUpstream
from completions.types import CompletionRequest, Delta, ProviderEvent

KEY = "sk-our-own-key-000111222"
PROMPT = "the secret prompt"
DEADLINE = 0.3


def asking(model: str, stream: bool = True, **parameters: Any) -> CompletionRequest:
    return CompletionRequest(model, ({"role": "user", "content": PROMPT},), parameters, stream)


class ProviderCase(IsolatedAsyncioTestCase):
    up: FaultyUpstream
    kind: type[HTTPProvider] = OpenAICompatible

    @classmethod
    def setUpClass(cls) -> None:
        cls.up = cls.enterClassContext(FaultyUpstream())

    def setUp(self) -> None:
        self.up.requests.clear()

    @asynccontextmanager
    async def provider(self, **options: Any) -> AsyncIterator[HTTPProvider]:
        options = {"base_url": self.up.base_url, "api_key": KEY, "first_byte": 5, "idle": 5, "retries": 0, **options}
        provider = self.kind("test", **options)
        try:
            yield provider
        finally:
            await provider.close()

    async def listen(self, model: str, **options: Any) -> tuple[list[ProviderEvent], x.ProviderError | None]:
        """All events, and the exception that ended them unless `StreamFinished` did."""
        parameters = options.pop("parameters", {})
        events: list[ProviderEvent] = []
        async with self.provider(**options) as provider:
            try:
                async for event in provider.stream(asking(model, **parameters)):
                    events.append(event)
            except x.ProviderError as error:
                return events, error
        return events, None


def told(events: list[ProviderEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))
