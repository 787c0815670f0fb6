"""Writes events into the outbox, in the transaction of what they tell: what is rolled back is told to nobody."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

from django.db import connection, transaction
from django.dispatch import receiver
from django.utils import timezone

from accounts.models import User
from accounts.signals import account_deleting
from completions.bulk_sql import Insert, table
from completions.models import Run
from completions.signals import EndedRun, runs_ended
from conversations.imports import Tally
from conversations.signals import conversations_created, import_finished
from foundation.ids import uuid7
from foundation.row_sql import key, marks, read_key
from usage.models import BudgetUse
from usage.signals import budget_warned
from usage.warnings import owner_of
from webhooks import delivery
from webhooks.endpoints import Subscription, subscribed
from webhooks.event_types import RESPONSES, EventType
from webhooks.models import WebhookDelivery

# Ids as OpenAI's API has them; why an answer that ended well is incomplete, as its responses say it.
RESPONSE, CONVERSATION = "resp_", "conv_"
INCOMPLETE = ("length", "content_filter")
OF_ACCOUNTS = (EventType.BUDGET_WARNING, EventType.IMPORT_FINISHED)
INSERT_DELIVERY = Insert(
    WebhookDelivery,
    *("id", "endpoint", "event_id", "event_type", "data", "created_at", "state", "attempts", "next_attempt_at"),
    "last_error",
)


def write_events(event_type: str, data: Iterable[dict[str, Any]], listeners: Iterable[Subscription]) -> None:
    """Store an event of a type for each of `data`, for all `listeners`, to be sent after the commit."""
    events = [(uuid7(), each) for each in data]
    _store([_row(pk, event_type, each, listener) for pk, each in events for listener in listeners])


def _row(event_id: uuid.UUID, event_type: str, data: dict[str, Any], listener: Subscription) -> dict[str, Any]:
    now = timezone.now()
    return {
        "id": uuid7(),
        "endpoint": listener.endpoint_id,
        "event_id": event_id,
        "event_type": event_type,
        "data": data,
        "created_at": now,
        "next_attempt_at": now,
    }


def _store(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    with connection.cursor() as cursor:
        INSERT_DELIVERY.execute(cursor, rows)
    ids = {row["endpoint"] for row in rows}
    # Robust: the transaction may be the journal's, and it is committed by then.
    transaction.on_commit(lambda: delivery.deliver_soon(ids), robust=True)


@receiver(runs_ended)
def _tell_of_runs(sender: Any, runs: list[EndedRun], **kwargs: Any) -> None:
    listeners = subscribed(RESPONSES)
    if not listeners:
        return
    all_answers = all(listener.all_answers for listener in listeners)
    background = set() if all_answers else _in_background([run.run_id for run in runs])
    found = []
    for run in runs:
        event_type, event_id, data = _type_of(run), uuid7(), {"id": f"{RESPONSE}{run.run_id.hex}"}
        for listener in listeners:
            if event_type in listener.event_types and (listener.all_answers or run.run_id in background):
                found.append(_row(event_id, event_type, data, listener))
    _store(found)


def _in_background(run_ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of these runs that are of responses in the background."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, echo FROM {table(Run)} WHERE echo IS NOT NULL AND id IN ({marks(run_ids)})",  # noqa: S608
            list(map(key, run_ids)),
        )
        return {read_key(pk) for pk, echo in cursor.fetchall() if json.loads(echo).get("background")}


def _type_of(run: EndedRun) -> EventType:
    if run.status == Run.State.CANCELLED:
        return EventType.RESPONSE_CANCELLED
    if run.status != Run.State.COMPLETE:
        return EventType.RESPONSE_FAILED
    return EventType.RESPONSE_INCOMPLETE if run.finish_reason in INCOMPLETE else EventType.RESPONSE_COMPLETED


@receiver(conversations_created)
def _tell_of_conversations(sender: Any, conversation_ids: list[uuid.UUID], **kwargs: Any) -> None:
    if listeners := subscribed([EventType.CONVERSATION_CREATED]):
        data = [{"id": f"{CONVERSATION}{pk.hex}"} for pk in conversation_ids]
        write_events(EventType.CONVERSATION_CREATED, data, listeners)


@receiver(budget_warned)
def _tell_of_budget(sender: Any, use: BudgetUse, threshold: int, **kwargs: Any) -> None:
    if listeners := subscribed([EventType.BUDGET_WARNING]):
        owner = owner_of(use)
        data = {"id": str(use.budget_id), "percent": threshold, "user_id": str(owner.pk) if owner else None}
        write_events(EventType.BUDGET_WARNING, [data], listeners)


@receiver(import_finished)
def _tell_of_import(sender: Any, owner: User, tally: Tally, **kwargs: Any) -> None:
    if listeners := subscribed([EventType.IMPORT_FINISHED]):
        counts = {"created": tally.created, "extended": tally.grown, "messages": tally.messages}
        data = {"id": f"import_{uuid7().hex}", "user_id": str(owner.pk), **counts, "skipped": len(tally.skipped)}
        write_events(EventType.IMPORT_FINISHED, [data], listeners)


@receiver(account_deleting)
def _forget_account(sender: Any, user_id: uuid.UUID, **kwargs: Any) -> None:
    WebhookDelivery.objects.filter(event_type__in=OF_ACCOUNTS, data__user_id=str(user_id)).delete()
