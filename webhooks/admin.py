"""Webhooks for staff: endpoints, whose secret is shown once, and the log of what was delivered to them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from foundation.admin_base import HistoryAdmin, ListAdmin, MadeFilter, minute
from webhooks.endpoints import forget_endpoints
from webhooks.event_types import SUBSCRIBABLE
from webhooks.models import WebhookDelivery, WebhookEndpoint
from webhooks.services import OVERLAP_HOURS, replay, rotate_secret, send_test
from webhooks.signing import secret_of

AT_ONCE = 1_000


class EndpointForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    event_types = forms.MultipleChoiceField(choices=SUBSCRIBABLE, widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = WebhookEndpoint
        fields = ("url", "description", "event_types", "all_answers", "is_active")


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ListAdmin):
    form = EndpointForm
    list_display = ("url", "description", "told_of", "all_answers", "is_active", "waiting", "given_up", "rotating")
    list_filter = ("is_active",)
    fields = ("url", "description", "event_types", "all_answers", "is_active", "rotating")
    readonly_fields = ("rotating",)
    ordering = ("-id",)
    sortable_by = ()
    actions = ("rotate", "test")

    @admin.display(description="events")
    def told_of(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.event_types)

    def get_queryset(self, request: HttpRequest) -> Any:
        states = WebhookDelivery.State
        return super().get_queryset(request).annotate(pending=_count(states.PENDING), dead=_count(states.DEAD))

    @admin.display(description="waiting")
    def waiting(self, endpoint: Any) -> int:
        return int(endpoint.pending)

    @admin.display(description="dead")
    def given_up(self, endpoint: Any) -> int:
        return int(endpoint.dead)

    @admin.display(description="former secret valid until (UTC)")
    def rotating(self, endpoint: WebhookEndpoint) -> str:
        return minute(endpoint.previous_secret_until) or "—"

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List the endpoints alone: their deliveries are deleted, too, and may be many rows."""
        found = list(objs)
        may = all(self.has_delete_permission(request, each) for each in found)
        return [str(each) for each in found], {"endpoints": len(found)}, set() if may else {"webhook endpoint"}, []

    def response_add(self, request: HttpRequest, obj: WebhookEndpoint, post_url_continue: str | None = None) -> Any:
        return self._show_secrets(request, [obj], "The secret of the new endpoint")

    @admin.action(description="Make a new secret", permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        endpoints = list(queryset[:AT_ONCE])
        for endpoint in endpoints:
            rotate_secret(endpoint=endpoint)
            self.log_change(request, endpoint, "Made a new secret")
        return self._show_secrets(request, endpoints, "New secrets")

    @admin.action(description="Send a test event", permissions=["change"])
    def test(self, request: HttpRequest, queryset: Any) -> None:
        endpoints = list(queryset[:AT_ONCE])
        for endpoint in endpoints:
            send_test(endpoint=endpoint)
        self.message_user(request, f"{len(endpoints)} test events are being sent: see the deliveries.")

    def _show_secrets(self, request: HttpRequest, endpoints: list[WebhookEndpoint], title: str) -> HttpResponse:
        """Show secrets once, in the answer to the form: a message after a redirect would be stored with the session."""
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "secrets": [(endpoint, secret_of(endpoint)) for endpoint in endpoints],
            "overlap": OVERLAP_HOURS,
        }
        return TemplateResponse(request, "admin/webhooks/secrets.html", context)

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        transaction.on_commit(forget_endpoints)

    def delete_model(self, request: HttpRequest, obj: WebhookEndpoint) -> None:
        super().delete_model(request, obj)
        transaction.on_commit(forget_endpoints)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        super().delete_queryset(request, queryset)
        transaction.on_commit(forget_endpoints)


def _count(state: str) -> Coalesce:
    of = WebhookDelivery.objects.filter(endpoint=OuterRef("pk"), state=state).order_by().values("endpoint")
    return Coalesce(Subquery(of.annotate(count=Count("pk")).values("count")), 0)


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(HistoryAdmin):
    """What was sent, and with which result; never what the receiver answered."""

    list_display = ("event_type", "object_id", "endpoint", "state", "attempts", "result", "next_attempt", "made")
    list_filter = ("state", MadeFilter, "event_type", "endpoint")
    list_select_related = ("endpoint",)
    fields = readonly_fields = (
        *("id", "endpoint", "event_id", "event_type", "data", "created_at", "state", "attempts", "last_status"),
        *("last_error", "next_attempt", "finished_at"),
    )
    ordering = ("-id",)
    sortable_by = ()
    actions = ("replay",)

    @admin.display(description="of")
    def object_id(self, delivery: WebhookDelivery) -> str:
        return str(delivery.data.get("id", ""))

    @admin.display(description="last result")
    def result(self, delivery: WebhookDelivery) -> str:
        return str(delivery.last_status or delivery.last_error)

    @admin.display(description="next attempt (UTC)")
    def next_attempt(self, delivery: WebhookDelivery) -> str:
        return minute(delivery.next_attempt_at) if delivery.state == WebhookDelivery.State.PENDING else ""

    @admin.display(description="made (UTC)")
    def made(self, delivery: WebhookDelivery) -> str:
        return minute(delivery.created_at)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("webhooks.change_webhookdelivery")

    @admin.action(description="Send again", permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: Any) -> None:
        sent = replay(delivery_ids=list(queryset.values_list("pk", flat=True)[:AT_ONCE]))
        self.message_user(request, f"{sent} deliveries are sent again.")
