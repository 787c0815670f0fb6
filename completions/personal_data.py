"""Registers the owners of this app's rows, and ends the runs of an account that is stopped or deleted."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

from django.db import connection
from django.db.models import Q
from django.dispatch import receiver
from django.utils import timezone

from accounts.erasing import HOLDINGS
from accounts.erasure import anonymize_admin_log
from accounts.personal_data import register
from accounts.signals import (
    account_anonymizing,
    account_closing,
    account_deleted,
    account_deleting,
    account_emptying,
    accounts_stopped,
    accounts_stopping,
    api_key_revoked,
)
from completions.deletion import let_go_of_runs
from completions.live import LIVE
from completions.models import UNFINISHED, Chunk, IdempotencyKey, Run, RunMetadata, RunQuerySet
from completions.notifications import notify_accounts_changed
from completions.services import request_cancel

logger = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds: a producer that hangs does not block the deletion of the account
POLL = 0.05
SLICE = 200

register(Run, owner="user")
register(RunMetadata, owner="run__user")
register(Chunk, owner="run__user")
register(IdempotencyKey, owner="user")


def _runs_of(*user_ids: uuid.UUID) -> RunQuerySet:
    """Return the runs that these accounts requested, and those that guests requested in their conversations."""
    return Run.objects.filter(Q(user__in=user_ids) | Q(conversation__owner__in=user_ids))


@receiver(account_closing)
def stop_runs(sender: Any, user_id: uuid.UUID, **kwargs: Any) -> None:
    """Cancel running answers in any process and wait until they are over and their upstream connections closed."""
    told: set[uuid.UUID] = set()
    until = time.monotonic() + PATIENCE
    while ids := _runs_of(user_id).to_stop():
        for run_id in [pk for pk in ids if pk not in told]:  # also stops runs that began meanwhile
            live = LIVE.get(run_id)
            if live is not None:
                live.loop.call_soon_threadsafe(live.cancel)
            request_cancel(run_id)
        told.update(ids)
        if connection.in_atomic_block:  # waiting is useless: nobody sees the request or can store before the commit
            return
        if time.monotonic() > until:
            logger.warning("an answer did not stop in time; it is deleted as it is")
            return
        time.sleep(POLL)


@receiver(accounts_stopping)
def cancel_runs(sender: Any, user_ids: list[uuid.UUID], **kwargs: Any) -> None:
    """Request the stop of runs in any process; the journal stops any that begin meanwhile."""
    for run_id in _runs_of(*user_ids).queued().values_list("pk", flat=True):
        request_cancel(run_id)
    running = _runs_of(*user_ids).running().filter(cancel_requested_at=None)
    running.update(cancel_requested_at=timezone.now())


@receiver(accounts_stopped)
@receiver(api_key_revoked)
def tell_other_processes(sender: Any, **kwargs: Any) -> None:
    notify_accounts_changed()


HOLDINGS.append(lambda user_id: Run.objects.filter(user=user_id, conversation=None).count())


@receiver(account_anonymizing)
def anonymize_log(sender: Any, user_id: uuid.UUID, **kwargs: Any) -> None:
    anonymize_admin_log("completions", _runs_of(user_id).values_list("pk", flat=True))


@receiver(account_emptying)
def delete_runs(sender: Any, user_id: uuid.UUID, until: float, **kwargs: Any) -> bool:
    """Delete runs, a few at a time; those that are not over are deleted with their conversations, or at the end."""
    over = Run.objects.filter(user=user_id).exclude(state__in=UNFINISHED)
    while page := list(over.values_list("pk", flat=True)[:SLICE]):
        Run.objects.filter(pk__in=page).delete()
        if time.monotonic() > until:
            return True
    return False


@receiver(account_deleting)
def hold_runs(sender: Any, user_id: uuid.UUID, **kwargs: Any) -> None:
    """Lock the runs that are not over: a chunk stored between the deletion's statements would violate a foreign key."""
    for runs in _runs_of(user_id).unfinished():
        list(runs.order_by("pk").select_for_update(of=("self",)).values_list("pk"))


@receiver(account_deleted)
def let_go(sender: Any, user_id: uuid.UUID, **kwargs: Any) -> None:
    let_go_of_runs([run_id for run_id, live in list(LIVE.items()) if live.handle.request.principal.user_id == user_id])
