"""Every write to imports by the one who started them."""

from __future__ import annotations

import uuid

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from accounts.callers import Principal
from files.models import File
from imports.models import HistoryImport
from imports.running import run_soon

State = HistoryImport.State


class ImportPending(Exception):
    """Another import of this account is not over."""


def start_import(*, principal: Principal, file_id: uuid.UUID) -> HistoryImport:
    """Let a file of the caller be imported into the caller's account; raises File.DoesNotExist and ImportPending."""
    file = File.objects.visible_to(principal).get(pk=file_id)
    try:
        with transaction.atomic():
            row = HistoryImport.objects.create(owner_id=principal.user_id, file_id=file.pk, file_name=file.name)
            transaction.on_commit(run_soon)
    except IntegrityError as error:
        raise ImportPending from error
    return row


@transaction.atomic
def cancel_import(*, principal: Principal, import_id: uuid.UUID) -> HistoryImport:
    """End an import: at once if nobody works on it, or else before its next batch. What it has stored stays.

    One that is over stays as it is. Raises HistoryImport.DoesNotExist.
    """
    mine = HistoryImport.objects.visible_to(principal)
    mine.get(pk=import_id)
    this = HistoryImport.objects.filter(pk=import_id)
    if not this.due().update(state=State.CANCELLED, finished_at=Now()):
        this.pending().update(is_cancelling=True)
    return mine.get(pk=import_id)
