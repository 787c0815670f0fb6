"""Shorthand for `RunRequest` in tests, and a way to accept one as the journal does."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction

from accounts.callers import Principal
from accounts.models import User
from accounts.services import register_user
from completions.acceptance import accept, limits_on
from completions.exceptions import Refused
from completions.models import Run
from completions.run_requests import RunHandle, RunRequest
from completions.run_results import RunResult, store
from completions.spending import Spending
from completions.types import Delta, Wire
from completions.worker_identity import worker_id
from usage.ledger import Charge


def somebody(name: str) -> User:
    return register_user(username=f"{name}-{uuid.uuid4().hex[:12]}")


def principal_of(user: User, **fields: Any) -> Principal:
    fields.setdefault("limits_owner_id", user.limits_owner_id)
    return Principal(user_id=user.pk, username=user.username, is_guest=user.guest_made, **fields)


def user_says(text: str, **more: Any) -> Wire:
    return {"role": "user", "content": text, **more}


def assistant_says(text: str, **more: Any) -> Wire:
    return {"role": "assistant", "content": text, **more}


def question(user: User, *messages: Wire | str, model: str = "echo", **fields: Any) -> RunRequest:
    """Return a `RunRequest`; plain texts become user messages."""
    wires = tuple(user_says(each) if isinstance(each, str) else each for each in messages)
    address = fields.pop("address", "")
    return RunRequest(
        principal=principal_of(user, address=address), model=model, upstream=model, messages=wires, **fields
    )


def accept_all(*run_requests: RunRequest, worker: str = "") -> list[RunHandle | Refused]:
    with transaction.atomic(), connection.cursor() as cursor:
        limits = limits_on(cursor, run_requests)
        accepted = accept(cursor, run_requests, worker=worker or worker_id(), limits=limits)
        limits.spending.write()
    return accepted


def accept_one(ask: RunRequest) -> RunHandle:
    [result] = accept_all(ask)
    if isinstance(result, Refused):
        raise result
    return result


def store_text(chunks: Sequence[tuple[uuid.UUID, Delta]]) -> set[uuid.UUID]:
    """Store text of runs as the journal does; returns the runs that were still this process's."""
    with transaction.atomic(), connection.cursor() as cursor:
        return store(cursor, chunks, [], worker=worker_id(), spending=Spending(cursor)).ours


def end_run(result: RunResult) -> Charge | None:
    """Store how a run ended as the journal does; returns what it is charged, None if it was over."""
    with transaction.atomic(), connection.cursor() as cursor:
        spending = Spending(cursor, ending=[result.run_id])
        [charge] = store(cursor, [], [result], worker=worker_id(), spending=spending).charges
        spending.write()
    return charge


def run_of(handle: RunHandle) -> Run:
    return Run.objects.get(pk=handle.run_id)
