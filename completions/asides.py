"""Asks a chat model something that belongs to no conversation, such as a title, or the order of a search's hits."""

from __future__ import annotations

from django.conf import settings

from accounts.callers import Principal
from completions import providers, request_policy
from completions.types import CompletionRequest, Wire


async def ask_aside(principal: Principal, model: str, messages: tuple[Wire, ...]) -> str:
    """Return what a model answers, once it has answered; it is not asked again if it fails.

    Raises Refused for a model that this caller may not use, ProviderError, and ImproperlyConfigured.
    """
    model = settings.DEFAULT_MODEL if model == "default" else model
    await request_policy.check(principal, model, {})
    provider, name = providers.provider_for(model)
    answer = await provider.complete(CompletionRequest(name, messages, stream=False), retry=False)
    return answer.response["choices"][0]["message"].get("content") or ""
