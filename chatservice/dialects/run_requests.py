"""From a parsed request of any dialect to a `RunRequest`, and from there to the run."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from accounts.callers import Principal
from chatservice.dialects.base import count_run
from chatservice.dialects.idempotency import fingerprint
from completions import services
from completions.run_requests import RunHandle, RunRequest


def resolve_model(name: str | None) -> str:
    """Return the model to run; no name, or "default", means DEFAULT_MODEL."""
    return settings.DEFAULT_MODEL if name in (None, "", "default") else name


def make_run_request(
    principal: Principal, *, model: str | None, key: str, identity: tuple[Any, ...], **fields: Any
) -> RunRequest:
    """Return a request for one run.

    `identity` is any JSON values that tell two requests under one idempotency key apart, the dialect's name first.
    """
    return RunRequest(
        principal=principal,
        model=resolve_model(model),
        idempotency_key=key,
        fingerprint=fingerprint(*identity) if key else "",
        **fields,
    )


async def submit(request: RunRequest) -> RunHandle:
    """Start the run, or join the one that the same request started before; raises completions.exceptions.Refused."""
    handle = await services.submit(request)
    await count_run(request.principal, joined=handle.attached)
    return handle
