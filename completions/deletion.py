"""Keeps runs from writing into a conversation that is being deleted, and closes their upstreams."""

from __future__ import annotations

import uuid
from typing import Any

from django.dispatch import receiver

from completions import queueing
from completions.live import LIVE
from completions.models import Run
from conversations.signals import conversation_deleted, message_deleted, messages_changed, messages_deleting


@receiver(messages_deleting)
def hold_runs(sender: Any, conversation_id: uuid.UUID, **kwargs: Any) -> None:
    """Lock the runs that are not over: a chunk stored between the deletion's statements would violate a foreign key."""
    for runs in Run.objects.filter(conversation_id=conversation_id).unfinished():
        list(runs.select_for_update().values_list("pk"))


@receiver(message_deleted)
def cancel_queued_runs(sender: Any, conversation_id: uuid.UUID, **kwargs: Any) -> None:
    queueing.cancel_without_question(conversation_id)


@receiver(conversation_deleted)
@receiver(messages_changed)
def let_go_of_deleted_runs(sender: Any, conversation_id: uuid.UUID, **kwargs: Any) -> None:
    """Stop this process's runs that were deleted; other processes notice with their next commit."""
    let_go_of_runs([run_id for run_id, live in list(LIVE.items()) if live.handle.conversation_id == conversation_id])


def let_go_of_runs(run_ids: list[uuid.UUID]) -> None:
    """Stop those of this process's runs that no longer exist."""
    if not run_ids:
        return
    left = set(Run.objects.filter(pk__in=run_ids).values_list("pk", flat=True))
    for run_id in run_ids:
        live = LIVE.get(run_id)
        if live is not None and run_id not in left:
            live.loop.call_soon_threadsafe(live.lose)
