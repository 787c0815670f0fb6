"""Limits of groups, users and keys for staff, with what is used of them right now, and who owns a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.options import BaseModelAdmin
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group
from django.db.models import JSONField, Q
from django.http import HttpRequest

from accounts.models import GroupOwner, SubjectLimits
from accounts.throttling import used
from foundation.admin_base import ListAdmin

VALUES = ("starts_per_minute", "runs_at_once", "tokens_per_minute", "reads_per_minute", "models_allowed", "search")
COUNTED = {"runs": "answers started", "tokens": "tokens used", "reads": "other requests"}
# What other apps show of the use of limits: each function returns a few words, or nothing.
USES: list[Callable[[SubjectLimits], str]] = []


class PatternsField(forms.JSONField):
    """A list in JSON, or nothing."""

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


class LimitsFields(BaseModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """How limits are shown: those of a group hold for each member by itself, so no use of them is shown."""

    formfield_overrides = {JSONField: {"form_class": PatternsField, "widget": forms.Textarea(attrs={"rows": 2})}}

    @admin.display(description="used in this minute")
    def used_now(self, row: SubjectLimits) -> str:
        name = counted_under(row)
        if not name:
            return "counted for each member by itself" if row.group_id is not None else "-"
        found = used([f"{kind}:{name}" for kind in COUNTED])
        uses = [f"{found.get(f'{kind}:{name}', 0):,} {what}" for kind, what in COUNTED.items()]
        return ", ".join([*uses, *filter(None, (use(row) for use in USES))])


def counted_under(row: SubjectLimits) -> str:
    """Return what the counters of a user or a key are named after; a key's count only what it has a limit on."""
    if row.key is not None:
        return f"{row.key.user_id.hex}:{row.key.pk.hex}"
    return row.user_id.hex if row.user_id is not None else ""


class LimitsInline(LimitsFields, admin.StackedInline):  # type: ignore[type-arg]  # not subscriptable at run time
    model = SubjectLimits
    fields = (*VALUES, "used_now")
    readonly_fields = ("used_now",)
    max_num = 1
    extra = 1
    verbose_name_plural = "limits of its own: what is empty is as the settings, or the groups, have it"


class LimitsOfUser(LimitsInline):
    fk_name = "user"


class LimitsOfGroup(LimitsInline):
    fk_name = "group"


class OwnersOfGroup(admin.TabularInline):  # type: ignore[type-arg]  # not subscriptable at run time
    """Who may see what a group uses."""

    model = GroupOwner
    raw_id_fields = ("user",)
    extra = 0
    verbose_name_plural = "owners, who see what the group uses, and no content"


class GroupsOfOwner(admin.TabularInline):  # type: ignore[type-arg]  # not subscriptable at run time
    """The groups whose use a user may see."""

    model = GroupOwner
    extra = 0
    verbose_name_plural = "groups whose use this user sees, without any content"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("group")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        found = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if found is not None:
            found.choices = lambda: [("", "---------"), *group_choices(request)]
        return found


def group_choices(request: Any) -> list[tuple[int, str]]:
    """Return all groups, read once for a page: every row of a form has them to choose from."""
    if not hasattr(request, "_group_choices"):
        request._group_choices = list(Group.objects.order_by("name").values_list("pk", "name"))
    found: list[tuple[int, str]] = request._group_choices
    return found


admin.site.unregister(Group)


@admin.register(Group)
class LimitedGroupAdmin(GroupAdmin):
    inlines = (LimitsOfGroup, OwnersOfGroup)

    class Media:
        js = ("accounts/filter_labels.js",)


class SubjectFilter(admin.SimpleListFilter):
    title = "subject"
    parameter_name = "subject"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("group", "Groups"), ("user", "Users"), ("key", "Keys")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() not in ("group", "user", "key"):
            return queryset
        return queryset.filter(**{f"{self.value()}__isnull": False})


@admin.register(SubjectLimits)
class SubjectLimitsAdmin(LimitsFields, ListAdmin):
    list_display = ("subject", *VALUES)
    list_filter = (SubjectFilter,)
    list_select_related = ("group", "user", "key__user")
    search_fields = ("group__name",)  # see get_search_results
    search_help_text = "Start of a group's name, of a username or of a key (without cb_)"
    fields = ("group", "user", "key", *VALUES, "used_now")
    raw_id_fields = ("user", "key")
    readonly_fields = ("used_now",)
    ordering = ("-id",)
    sortable_by = ()

    @admin.display(description="whose")
    def subject(self, row: SubjectLimits) -> str:
        if row.key is not None:
            return f"key {row.key} of {row.key.user}"
        return f"user {row.user}" if row.user is not None else f"group {row.group}"

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.replace("\x00", "").strip()[:200]
        found = Q(group__name__istartswith=term) | Q(user__username__istartswith=term) | Q(key__kid__startswith=term)
        return (queryset.filter(found) if term else queryset), False
