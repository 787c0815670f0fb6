"""Read-only admin for runs: who generated what with which model, how long it took and how it ended. No message text."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, Sum, Value
from django.db.models.functions import Concat
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse

from accounts.admin_limits import USES
from accounts.admin_related import RELATED, Related
from accounts.erasing import without_erased
from accounts.models import ApiKey, SubjectLimits, User
from completions.models import Run
from completions.services import reap
from completions.token_counts import PATHS
from conversations.admin import as_id
from conversations.admin_filters import ModelFilter, id_of_owner
from foundation.admin_base import DatesFilter, HistoryAdmin, MadeFilter, TextFilter, minute
from foundation.admin_links import Link, list_of, page_of, to_user
from usage.money import shown


def written_now(row: SubjectLimits) -> str:
    """Return how many answers are written at the moment that count for a user's or a key's limits."""
    running = Run.objects.running().filter(api_key_id=row.key_id)
    if row.key is not None:
        running = running.filter(user=row.key.user_id)
    elif row.user_id is not None:
        running = Run.objects.running().filter(user__in=User.objects.sharing_limits(row.user_id))
    return f"{running.aggregate(written=Sum('choices'))['written'] or 0} written at the moment"


USES.append(written_now)
RELATED.append(
    Related(
        title="Runs",
        permission="completions.view_run",
        address=lambda user: list_of("completions_run", user=user.username),
        latest=lambda user: Run.objects.filter(user=user).order_by("-id"),
        words=Concat("model", Value(", "), "state", Value(" "), "error_code"),
        page=partial(page_of, "completions_run"),
    )
)


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, str(label)) for value, label in Run.State.choices]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() not in Run.State.values:
            return queryset
        rows = queryset.filter(state=self.value())
        # Failed and interrupted runs always have an error code, and an index covers the runs that have one.
        always = self.value() in (Run.State.FAILED, Run.State.INTERRUPTED)
        return rows.exclude(error_code="") if always else rows


class FailedFilter(admin.SimpleListFilter):
    """Runs with an error: those that failed, and those that were interrupted."""

    title = "errors"
    parameter_name = "failed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "With an error"), ("no", "Without one")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "yes":
                return queryset.exclude(error_code="")
            case "no":
                return queryset.filter(error_code="")
        return queryset


class ErrorFilter(TextFilter):
    title = "error code"
    parameter_name = "error"
    placeholder = "upstream_timeout"
    column = "error_code"


class UpstreamFilter(TextFilter):
    title = "upstream"
    parameter_name = "upstream"
    placeholder = "name in UPSTREAMS"
    column = "upstream"


class UserFilter(TextFilter):
    title = "user"
    parameter_name = "user"
    placeholder = "username"
    column = "user_id"

    def sought(self) -> Any:
        return id_of_owner(self.text())


class KeyFilter(TextFilter):
    title = "key"
    parameter_name = "key"
    placeholder = "cb_…"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if not self.text():
            return queryset
        key = ApiKey.objects.filter(kid=self.text().removeprefix("cb_")[:8]).first()
        # Of its owner, too: runs have an index of these, and none of keys.
        return queryset.filter(user_id=key.user_id, api_key_id=key.pk) if key else queryset.none()


def to_conversation(run: Run) -> tuple[str, str]:
    return str(run.conversation_id or "-"), page_of("conversations_conversation", run.conversation_id)


def to_message(run: Run) -> tuple[str, str]:
    if not run.message_id or not run.conversation_id:
        return str(run.message_id or "-"), ""
    page = page_of("conversations_conversation", run.conversation_id)
    return str(run.message_id), f"{page}?message={run.message_id}#m-{run.message_id}"


@admin.register(Run)
class RunAdmin(HistoryAdmin):
    """Parameters, requests and envelopes are not shown: they may repeat what was asked."""

    list_display = (
        *("started", "user", "model", "upstream", "state", "error_code", "first_token", "in_all", "tokens", "costs"),
    )
    list_filter = (
        *(MadeFilter, DatesFilter, StateFilter, FailedFilter, ErrorFilter, ModelFilter, UpstreamFilter, UserFilter),
        KeyFilter,
    )
    links = {
        "user": to_user(),
        "error_code": Link(
            "completions.view_run",
            lambda run: (run.error_code, run.error_code and list_of("completions_run", error=run.error_code)),
        ),
        "conversation_id": Link("conversations.view_conversation", to_conversation),
        "message_id": Link("conversations.view_conversation", to_message),
        "api_key_id": Link(
            "accounts.view_apikey", lambda run: (str(run.api_key_id or "-"), page_of("accounts_apikey", run.api_key_id))
        ),
    }
    search_fields = ("model",)
    search_help_text = "Start of a username, or the id of a run, message or conversation"
    fields = readonly_fields = (
        *("id", "conversation_id", "message_id", "user", "address", "api_key_id", "request_id", "upstream", "model"),
        *("state", "finish_reason", "error_code", "error_message", "http_status", "usage", *PATHS, "is_estimate"),
        *("costs", "created_at"),
        *("started_at", "first_token_at", "first_text_at", "finished_at", "first_token", "in_all", "retry_after"),
        "cancel_requested_at",
        *("worker", "epoch"),
    )
    ordering = ("-id",)
    sortable_by = ()
    change_list_template = "admin/completions/run/change_list.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        runs = without_erased(super().get_queryset(request).select_related("user"), "user")
        return runs.defer("parameters", "request", "envelope", "closing")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.replace("\x00", "").strip()[:200]
        if not term:
            return queryset, False
        if (pk := as_id(term)) is not None:
            return queryset.filter(Q(pk=pk) | Q(message_id=pk) | Q(conversation_id=pk)), False
        users = User.objects.filter(username__istartswith=term).values_list("pk", flat=True)[:1_000]
        return queryset.filter(user_id__in=list(users)), False

    @admin.display(description="started (UTC)")
    def started(self, run: Run) -> str:
        return minute(run.created_at)

    @admin.display(description="first token (ms)")
    def first_token(self, run: Run) -> int | None:
        began = run.started_at or run.created_at
        return round((run.first_token_at - began).total_seconds() * 1000) if run.first_token_at else None

    @admin.display(description="total (s)")
    def in_all(self, run: Run) -> float | None:
        began = run.started_at or run.created_at
        return round((run.finished_at - began).total_seconds(), 2) if run.finished_at else None

    @admin.display(description="tokens")
    def tokens(self, run: Run) -> int | None:
        return (run.usage or {}).get("total_tokens")

    @admin.display(description="cost")
    def costs(self, run: Run) -> str:
        return "" if run.cost is None else shown(run.cost)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A run is deleted only with its message or its user."""
        return False

    def get_urls(self) -> list[Any]:
        return [
            path("reap/", self.admin_site.admin_view(self.reap_view), name="completions_run_reap"),
            *super().get_urls(),
        ]

    def reap_view(self, request: HttpRequest) -> HttpResponse:
        """End the runs whose producer died, as every process does by itself every few seconds."""
        if not request.user.has_perm("completions.change_run"):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponse(status=405, headers={"Allow": "POST"})
        count = reap()
        self.message_user(request, f"{count} runs whose process died were marked as interrupted.")
        return HttpResponseRedirect(reverse("admin:completions_run_changelist"))
