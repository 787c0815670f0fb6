"""Budgets for staff, with what is used and reserved of them now; tightest first, who is near a limit."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import transaction
from django.db.models import Count, Max
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import User
from foundation.admin_base import HistoryAdmin, ListAdmin, TextFilter
from usage.budget_rules import forget_budgets
from usage.forms import BudgetForm
from usage.models import Budget, BudgetUse
from usage.money import shown
from usage.periods import renewal

AMOUNTS = ("used_tokens", "used_cost", "reserved_tokens", "reserved_cost")
LIMITS = ("max_tokens", "max_cost", "warn_at", "period", "is_active")
"""The fields with which a threshold changes, so that it is reported again."""


class BudgetList(ChangeList):
    """Reads what is used of all budgets of a page by one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        budgets = list(self.result_list)
        for budget in budgets:
            budget.now = {}
        by_id = {budget.pk: budget for budget in budgets}
        for row in uses_of(by_id):
            by_id[row["budget"]].now = row
        self.result_list = budgets


def uses_of(budget_ids: Any) -> Any:
    """Return what is used of budgets in their current periods: of those for each, the most that one has used."""
    rows = BudgetUse.objects.current(timezone.now()).filter(budget__in=budget_ids).order_by()
    return rows.values("budget").annotate(members=Count("pk"), **{name: Max(name) for name in AMOUNTS})


def lock_uses(budget_ids: Any) -> None:
    """Lock what is used of budgets in the order of `budgets.py`, which would otherwise wait for us, and we for it."""
    list(BudgetUse.objects.filter(budget__in=budget_ids).order_by("pk").select_for_update(of=("self",)).values("pk"))


class SubjectFilter(admin.SimpleListFilter):
    title = "subject"
    parameter_name = "subject"
    fields = ("group", "user", "api_key")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("group", "Groups"), ("user", "Users"), ("api_key", "Keys"), ("everybody", "Everybody")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() in self.fields:
            return queryset.filter(**{f"{self.value()}__isnull": False})
        return queryset.filter(group=None, user=None, api_key=None) if self.value() == "everybody" else queryset


@admin.register(Budget)
class BudgetAdmin(ListAdmin):
    form = BudgetForm
    list_display = (*("name", "subject", "period", "used", "reserved", "renewed", "is_hard", "warn_at", "is_active"),)
    list_filter = (SubjectFilter, "period", "is_hard", "is_active")
    list_select_related = ("group", "user", "api_key__user")
    search_fields = ("name__icontains",)
    search_help_text = "Part of a name"
    fields = (
        *("name", "group", "user", "api_key", "end_user", "for_each", "period", "max_cost", "max_tokens", "is_hard"),
        *("warn_at", "is_active", "used", "reserved", "renewed"),
    )
    readonly_fields = ("used", "reserved", "renewed")
    raw_id_fields = ("user", "api_key")
    ordering = ("name",)
    sortable_by = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BudgetList

    @admin.display(description="of")
    def subject(self, budget: Budget) -> str:
        of = str(budget.group or budget.user or "everybody")
        if budget.api_key is not None:
            of = f"{budget.api_key} of {budget.api_key.user}"
        end_users = f", end user {budget.end_user}" if budget.end_user else ""
        return f"{'each of ' if budget.for_each else ''}{of}{end_users}"

    @admin.display(description="used now")
    def used(self, budget: Budget) -> str:
        return _amounts(budget, _now(budget), "used", with_limit=True)

    @admin.display(description="reserved")
    def reserved(self, budget: Budget) -> str:
        return _amounts(budget, _now(budget), "reserved")

    @admin.display(description="renewed")
    def renewed(self, budget: Budget) -> str:
        at = renewal(budget.period, timezone.now())
        return f"{at:%Y-%m-%d %H:%M %Z}" if at else "never"

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List the budgets alone: what was used of them is deleted, too, and may be many rows."""
        budgets = list(objs)
        may = all(self.has_delete_permission(request, budget) for budget in budgets)
        return [str(each) for each in budgets], {"budgets": len(budgets)}, set() if may else {"budget"}, []

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and set(form.changed_data) & set(LIMITS):
            lock_uses([obj.pk])
            BudgetUse.objects.current(timezone.now()).filter(budget=obj, warned__gt=0).update(warned=0)
        transaction.on_commit(forget_budgets)

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        lock_uses([obj.pk])
        super().delete_model(request, obj)
        transaction.on_commit(forget_budgets)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        lock_uses(queryset.values("pk"))
        super().delete_queryset(request, queryset)
        transaction.on_commit(forget_budgets)


class UseList(ChangeList):
    """Reads the usernames of all members of a page by one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        uses = list(self.result_list)
        ids = {uuid.UUID(use.member[:32]) for use in uses if use.member}
        names = dict(User.objects.filter(pk__in=ids).values_list("pk", "username")) if ids else {}
        for use in uses:
            use.of = names.get(uuid.UUID(use.member[:32]), "") if use.member else ""
        self.result_list = uses


class NearLimitFilter(admin.SimpleListFilter):
    title = "use"
    parameter_name = "use"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("near", "Near a limit"), ("all", "Completely used")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "near":
                return queryset.near()
            case "all":
                return queryset.filter(share__gte=100)
        return queryset


class BudgetFilter(TextFilter):
    title = "budget"
    parameter_name = "name"
    placeholder = "name"
    column = "budget__name"


@admin.register(BudgetUse)
class BudgetUseAdmin(HistoryAdmin):
    """What is used of budgets in the periods of today, the tightest first."""

    list_display = ("budget", "member_name", "share_used", "used", "reserved", "began")
    list_filter = (NearLimitFilter, BudgetFilter)
    list_select_related = ("budget",)
    fields = readonly_fields = ("budget", "member_name", "share_used", "used", "reserved", "began", "warned")
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = BudgetUse.objects.with_share()
        is_list = request.resolver_match is None or "object_id" not in request.resolver_match.kwargs
        return rows.current(timezone.now()) if is_list else rows

    def get_ordering(self, request: HttpRequest) -> Any:
        return ("-share", "pk")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return UseList

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="whose")
    def member_name(self, use: BudgetUse) -> str:
        if not use.member:
            return ""
        name = getattr(use, "of", None)
        if name is None:
            user = User.objects.filter(pk=uuid.UUID(use.member[:32])).first()
            name = user.username if user else ""
        end_user = use.member[33:]
        return f"{name}, end user {end_user}" if end_user else name

    @admin.display(description="used, %")
    def share_used(self, use: Any) -> str:
        return f"{use.share:.1f}"

    @admin.display(description="used")
    def used(self, use: BudgetUse) -> str:
        return _amounts(use.budget, vars(use), "used", with_limit=True)

    @admin.display(description="reserved")
    def reserved(self, use: BudgetUse) -> str:
        return _amounts(use.budget, vars(use), "reserved")

    @admin.display(description="since")
    def began(self, use: BudgetUse) -> str:
        return "the beginning" if use.start.year == 1 else f"{use.start:%Y-%m-%d}"


def _now(budget: Any) -> dict[str, Any]:
    if not hasattr(budget, "now"):
        budget.now = next(iter(uses_of([budget.pk])), {})
    found: dict[str, Any] = budget.now
    return found


def _amounts(budget: Budget, row: dict[str, Any], kind: str, *, with_limit: bool = False) -> str:
    """Return the amounts that a budget limits in words, with the limits."""
    cost, tokens = row.get(f"{kind}_cost") or 0, row.get(f"{kind}_tokens") or 0
    parts = []
    if budget.max_cost is not None:
        parts.append(f"{shown(cost)} of {shown(budget.max_cost)}" if with_limit else shown(cost))
    if budget.max_tokens is not None:
        parts.append(f"{tokens:,} of {budget.max_tokens:,} tokens" if with_limit else f"{tokens:,} tokens")
    most = f"; the most of {row['members']}" if with_limit and row.get("members", 0) > 1 else ""
    return ", ".join(parts) + most
