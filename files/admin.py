"""Read-only admin for files: whose, what kind, how large. No content, and no names, which may say what is in it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat

from accounts.erasing import without_erased
from files.models import File
from foundation.admin_base import HistoryAdmin, MadeFilter, minute
from foundation.admin_links import to_user


class PurposeFilter(admin.SimpleListFilter):
    title = "purpose"
    parameter_name = "purpose"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(purpose.value, purpose.value) for purpose in File.Purpose]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(purpose=self.value()) if self.value() in File.Purpose.values else queryset


@admin.register(File)
class FileAdmin(HistoryAdmin):
    list_display = ("pk", "owner", "media_type", "shown_size", "purpose", "made", "expires")
    list_filter = (MadeFilter, PurposeFilter)
    list_select_related = ("owner",)
    search_fields = ("owner__username__istartswith",)
    search_help_text = "Start of an owner's username"
    fields = readonly_fields = ("pk", "owner", "media_type", "shown_size", "sha256", "purpose", "made", "expires")
    ordering = ("-id",)
    sortable_by = ()
    links = {"owner": to_user("owner")}

    def get_queryset(self, request: HttpRequest) -> Any:
        return without_erased(super().get_queryset(request), "owner")

    @admin.display(description="size")
    def shown_size(self, file: File) -> str:
        return filesizeformat(file.size)

    @admin.display(description="uploaded")
    def made(self, file: File) -> str:
        return minute(file.created_at)

    @admin.display(description="expires")
    def expires(self, file: File) -> str:
        return minute(file.expires_at)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A file is deleted by its owner, or with its owner: its content has to go as well."""
        return False
