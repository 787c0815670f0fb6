"""Exports for staff: a page that asks for format and reason, then a streamed file."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin import helpers
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from conversations.access_log import record_accesses
from conversations.access_reasons import ReasonForm
from conversations.exporters import Format, export_conversations
from conversations.models import AccessLogEntry, Conversation
from foundation.database import stream_from_database

AT_ONCE = 100


class ExportForm(ReasonForm):
    format = forms.ChoiceField(
        choices=[
            (Format.MARKDOWN, "Markdown, for reading"),
            (Format.JSONL, "JSONL, one conversation per line"),
            (Format.CHATGPT, "ChatGPT's conversations.json, with every branch"),
        ],
        widget=forms.RadioSelect,
        initial=Format.MARKDOWN,
    )
    field_order = ("format", "reason")


def export_selected(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
    """Ask for format and reason; then record the access to each conversation, and send the file."""
    ids = list(queryset.values_list("pk", flat=True)[: AT_ONCE + 1])
    if len(ids) > AT_ONCE:
        model_admin.message_user(request, f"At most {AT_ONCE} conversations can be exported at once.", "error")
        return None
    form = ExportForm(request.POST if "format" in request.POST else None)
    if not form.is_valid():
        context = {
            **model_admin.admin_site.each_context(request),
            "title": f"Export {len(ids)} conversation{'' if len(ids) == 1 else 's'}",
            "opts": Conversation._meta,
            "form": form,
            "ids": ids,
            "checkbox": helpers.ACTION_CHECKBOX_NAME,
            "action": "export_selected",
        }
        return TemplateResponse(request, "admin/export.html", context)
    chosen = Conversation.objects.filter(pk__in=ids)
    record_accesses(
        reader=request.user,
        kind=AccessLogEntry.Kind.EXPORT,
        reason=form.cleaned_data["reason"],
        conversations=chosen.values_list("pk", "owner_id"),
    )
    kind = Format(form.cleaned_data["format"])
    name = f"conversations-{timezone.now():%Y%m%d-%H%M%S}{kind.suffix}"
    return StreamingHttpResponse(
        stream_from_database(export_conversations(chosen, kind)),
        content_type=f"{kind.media_type}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
