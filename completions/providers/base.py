"""The interface of providers, the only way to a model. They know nothing about databases, runs or dialects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from completions.providers.health import Health
from completions.types import Completion, CompletionRequest, ModelInfo, ProviderEvent


class Provider(Protocol):
    """A source of answers; each process has one object per upstream.

    Every method raises `completions.exceptions.ProviderError`, and nothing else, when the upstream fails. Cancelling
    the task that iterates `stream` closes the upstream connection immediately.
    """

    name: str
    health: Health
    speaks_responses: bool
    """Whether a request of the Responses API is sent to it in that API's own words."""
    takes_documents: bool
    """Whether it reads documents itself; otherwise it is sent what they say."""

    def stream(
        self,
        request: CompletionRequest,
        *,
        ready: Callable[[], Awaitable[None]] | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ProviderEvent]:
        """Yield one `StreamStarted`, then a `Delta` for each read that brought content, then one `StreamFinished`.

        `ready` is awaited before each read: reading faster than the consumer stores has no benefit. Without `retry` a
        failed request is not sent again: the caller asks another upstream next.
        """
        ...

    async def complete(self, request: CompletionRequest, *, retry: bool = True) -> Completion:
        """Answer without streaming; returns the upstream's body, altered only where it is not of OpenAI's shape."""
        ...

    async def list_models(self) -> list[ModelInfo]:
        """Return the models this upstream offers."""
        ...

    async def close(self) -> None:
        """Release the connections."""
        ...
