"""Turns a parsed request of any dialect into a `RunRequest`; starts and stops runs."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

from django.conf import settings

from accounts.callers import Principal
from accounts.scopes import Scope, has_scope, require_scope
from chatservice.dialects.base import count_run
from chatservice.dialects.idempotency import fingerprint
from completions import interrupting, services
from completions.conversation_generation import conversation_generation
from completions.readers import wait_for_end
from completions.recall import OFF, Recall
from completions.run_requests import RunHandle, RunRequest
from conversations.default_generation import default_generation
from foundation.database import in_database_thread


def resolve_model(name: str | None) -> str:
    """Return the model to run; without a name, or for "default", that is DEFAULT_MODEL."""
    return settings.DEFAULT_MODEL if name in (None, "", "default") else name


def make_run_request(
    principal: Principal, *, model: str | None, key: str, identity: tuple[Any, ...], **fields: Any
) -> RunRequest:
    """Return a request for one run.

    `identity` is a tuple of JSON values, the dialect's name first, that distinguishes two requests with the same
    idempotency key. `when_busy` is not part of it: a question is asked once, however it got past a running answer.
    Raises ScopeMissing if the caller's key may not search, and asks to recall what a search finds.
    """
    fields["recall"] = _recall(principal, fields.get("recall"))
    return RunRequest(
        principal=principal,
        model=resolve_model(model),
        idempotency_key=key,
        fingerprint=fingerprint(*identity) if key else "",
        **fields,
    )


def _recall(principal: Principal, asked: Recall | None) -> Recall | None:
    """Return a request's recall. For a key that may not search it is off, whatever the conversation's setting says."""
    if asked is not None and asked.limit:
        require_scope(principal, Scope.SEARCH)
    return asked if has_scope(principal, Scope.SEARCH) else OFF


async def with_default_generation(request: RunRequest) -> RunRequest:
    """Return the request for a new conversation with its user's default, which the conversation then keeps.

    Not before the request has its fingerprint: it stays the same request when the default changes.
    """
    if request.principal.is_guest:
        return request
    stored = await in_database_thread(default_generation, request.principal.user_id)
    return replace(request, generation=conversation_generation(stored))


async def stop(run_id: uuid.UUID, *, seconds: float) -> bool:
    """Stop a run and wait for its end; False if it has not ended after `seconds`: its process may not know it yet."""
    await services.cancel(run_id)
    try:
        await asyncio.wait_for(wait_for_end(run_id), seconds)
    except TimeoutError:
        return False
    return True


async def submit(request: RunRequest) -> RunHandle:
    """Start the run, or join it if the same request already started it; raises completions.exceptions.Refused."""
    handle = await interrupting.submit(request)
    await count_run(request.principal, joined=handle.attached)
    return handle
