"""The accounts that are being erased, and how far it is: nothing tells whose they were."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from accounts.erasing import held_by
from accounts.models import AccountErasure
from foundation.admin_base import HistoryAdmin, minute


def shown_progress(erasure: AccountErasure) -> str:
    """Return how much is left, in words."""
    return f"{held_by(erasure.user_id):,} of {erasure.total:,} conversations, files and answers left"


@admin.register(AccountErasure)
class ErasureAdmin(HistoryAdmin):
    list_display = ("pk", "requested", "progress")
    fields = readonly_fields = ("pk", "requested", "progress")
    ordering = ("requested_at",)
    sortable_by = ()

    @admin.display(description="requested")
    def requested(self, erasure: AccountErasure) -> str:
        return minute(erasure.requested_at)

    @admin.display(description="progress")
    def progress(self, erasure: AccountErasure) -> str:
        return shown_progress(erasure)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """An erasure cannot be undone: much of the account is gone already."""
        return False
