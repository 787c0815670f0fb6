"""Search in messages from the admin's list of conversations, by words and by meaning, after a reason is given."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from conversations.access_log import may_read_content, record_accesses
from conversations.access_reasons import SEARCHING, ReasonForm, remember_reason, remembered_reason
from conversations.admin import ConversationAdmin, as_id
from conversations.admin_filters import UpdatedFilter, id_of_owner
from conversations.models import AccessLogEntry, Conversation
from search.queries import Filters, Hit, Mode, search_everybody

MAX_QUERY_CHARS = 400
SHOWN = 20
WAYS = {Mode.HYBRID: "words and meaning", Mode.SEMANTIC: "meaning", Mode.TEXT: "words"}

admin.site.unregister(Conversation)


@admin.register(Conversation)
class SearchedConversationAdmin(ConversationAdmin):
    """Shows the messages that match above the list, which itself matches titles, owners and ids."""

    search_help_text = "Messages by words and by meaning; titles, owners, ids"
    change_list_template = "admin/conversations/conversation/change_list.html"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        text = request.GET.get("q", "").replace("\x00", "").strip()[:MAX_QUERY_CHARS]
        context = dict(extra_context or {})
        if text and as_id(text) is None and self.has_view_permission(request) and may_read_content(request.user):
            form = ReasonForm(request.POST) if "content_search" in request.POST else None
            if form is not None and form.is_valid():
                remember_reason(request, SEARCHING, form.cleaned_data["reason"])
                return HttpResponseRedirect(request.get_full_path())
            reason = remembered_reason(request, SEARCHING)
            if form is None and reason:
                context["content_search"] = self._found(request, text, reason)
            else:
                context["content_search"] = {"text": text, "form": form or ReasonForm()}
            if form is not None:  # the list itself would treat this as an action on its rows
                request.method = "GET"
        return super().changelist_view(request, context)

    def _found(self, request: HttpRequest, text: str, reason: str) -> dict[str, Any]:
        found = search_everybody(text, filters=self._narrowed(request), limit=SHOWN)
        record_accesses(
            reader=request.user,
            kind=AccessLogEntry.Kind.SEARCH,
            reason=reason,
            conversations=((hit.message.conversation_id, hit.message.conversation.owner_id) for hit in found.hits),
        )
        owners = dict(
            Conversation.objects.filter(pk__in={hit.message.conversation_id for hit in found.hits}).values_list(
                "pk", "owner__username"
            )
        )
        return {
            "text": text,
            "reason": reason,
            "hits": [shown(hit, owners.get(hit.message.conversation_id, "")) for hit in found.hits],
            "more": bool(found.next_cursor),
            "how": WAYS[found.mode],
            "why": found.why,
            "excluded": found.excluded,
            "took_ms": found.took_ms,
        }

    def _narrowed(self, request: HttpRequest) -> Filters:
        """Return the filters of the list as filters of the search."""
        asked = request.GET
        owner = asked.get("owner", "").replace("\x00", "").strip()
        days = UpdatedFilter(request, {"updated": [asked.get("updated", "")]}, Conversation, self)
        return Filters(
            owner_id=id_of_owner(owner) if owner else None,
            model=asked.get("model", ""),
            after=days.since(),
            archived={"yes": True, "no": False}.get(asked.get("archived", "")),
        )


def shown(hit: Hit, owner: str) -> dict[str, Any]:
    """Return what the page shows of a hit; its link jumps to the message."""
    message = hit.message
    page = reverse("admin:conversations_conversation_change", args=[message.conversation_id])
    return {
        "address": f"{page}?message={message.pk}#m-{message.pk}",
        "title": message.conversation.title or str(message.conversation),
        "owner": owner,
        "role": message.get_role_display(),
        "when": message.created_at,
        "matched": {"both": "words and meaning"}.get(hit.matched, hit.matched),
        "shown": hit.shown,
        "snippet": marked(hit.snippet, hit.highlights),
    }


def marked(snippet: str, highlights: tuple[tuple[int, int], ...]) -> SafeString:
    """Return the snippet escaped, with the highlights in <mark>."""
    pieces: list[SafeString] = []
    end = 0
    for start, stop in sorted(highlights):
        start = max(start, end)
        if stop > start:
            pieces.append(format_html("{}<mark>{}</mark>", snippet[end:start], snippet[start:stop]))
            end = stop
    pieces.append(format_html("{}", snippet[end:]))
    return format_html_join("", "{}", ((piece,) for piece in pieces))
