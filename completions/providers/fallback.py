"""Several upstreams for one model: the first one that can answers, and only one is ever billed."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast

from completions.exceptions import ProviderError, UpstreamUnavailable
from completions.providers.base import Provider
from completions.signals import upstream_skipped
from completions.types import Completion, CompletionRequest, ModelInfo, ProviderEvent, StreamStarted

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choice:
    """A provider, and its own name for the model asked for."""

    provider: Provider
    model: str


class Fallback:
    """A `Provider` that tries others in order of preference; those that are cooling down come last.

    The next one is asked only if the one before certainly generated nothing. Only the last one is retried.
    `StreamStarted`, `Completion` and ProviderError name the upstream that answered.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        self._choices = tuple(choices)
        self.name = choices[0].provider.name
        self.health = choices[0].provider.health
        self.speaks_responses = all(choice.provider.speaks_responses for choice in choices)
        self.takes_documents = all(choice.provider.takes_documents for choice in choices)

    async def stream(
        self,
        request: CompletionRequest,
        *,
        ready: Callable[[], Awaitable[None]] | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ProviderEvent]:
        """See `Provider.stream`."""
        failed: ProviderError | None = None
        choices = self._in_order()
        for choice in choices:
            name = choice.provider.name
            asked = replace(request, model=choice.model)
            events: Any = choice.provider.stream(asked, ready=ready, retry=retry and choice is choices[-1])
            try:
                async with aclosing(events):
                    async for event in events:
                        yield replace(event, upstream=name) if type(event) is StreamStarted else event
                return
            except ProviderError as error:
                failed = self._after(choice, error, failed)
        raise cast(ProviderError, failed)

    async def complete(self, request: CompletionRequest, *, retry: bool = True) -> Completion:
        """See `Provider.complete`."""
        failed: ProviderError | None = None
        choices = self._in_order()
        for choice in choices:
            asked = replace(request, model=choice.model)
            try:
                answer = await choice.provider.complete(asked, retry=retry and choice is choices[-1])
                return replace(answer, upstream=choice.provider.name)
            except ProviderError as error:
                failed = self._after(choice, error, failed)
        raise cast(ProviderError, failed)

    async def list_models(self) -> list[ModelInfo]:
        """Return the models of the preferred upstream."""
        return await self._choices[0].provider.list_models()

    async def close(self) -> None:
        """Release nothing: the providers are closed by the code that made them."""

    def _in_order(self) -> list[Choice]:
        return sorted(self._choices, key=lambda choice: choice.provider.health.wait())

    def _after(self, choice: Choice, error: ProviderError, before: ProviderError | None) -> ProviderError:
        """Note a failure; raises it if something may have been billed. Returns the error to raise if none answers."""
        error.upstream = choice.provider.name
        if not error.unbilled:
            raise error
        choice.provider.health.cool(error.retry_after)
        logger.warning("upstream %s: %s, others are asked first for a while", choice.provider.name, error.code)
        upstream_skipped.send_robust(None, upstream=choice.provider.name, error_code=error.code)
        # The error of an upstream that was asked is more useful than the fact that another one was not asked.
        return before if before is not None and isinstance(error, UpstreamUnavailable) else error
