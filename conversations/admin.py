"""The stored history for staff: read-only, because what was said cannot be changed afterwards."""

from __future__ import annotations

from django.contrib import admin

from conversations.models import Conversation, Message
from conversations.services import delete_conversation


class MessageInline(admin.TabularInline):
    model = Message
    fk_name = "conversation"
    fields = readonly_fields = ("position", "role", "content", "model", "status", "created_at")
    ordering = ("position",)
    can_delete = False
    max_num = extra = 0

    def has_add_permission(self, request, obj=None) -> bool:
        return False

    def has_change_permission(self, request, obj=None) -> bool:
        return False


@admin.register(Conversation)
class ConversationAdmin(admin.ModelAdmin):
    """Bodies are on the conversation's own page only: a list never loads them."""

    list_display = ("title_or_id", "owner", "end_user", "created_at", "updated_at", "archived_at")
    list_filter = ("updated_at", "archived_at", "owner__guest_made")
    list_select_related = ("owner",)
    search_fields = ("title", "owner__username")
    search_help_text = "Title or owner"
    fields = readonly_fields = (
        "id",
        "owner",
        "title",
        "end_user",
        "metadata",
        "created_at",
        "updated_at",
        "archived_at",
    )
    inlines = (MessageInline,)
    ordering = ("-updated_at",)
    show_full_result_count = False

    @admin.display(description="conversation", ordering="title")
    def title_or_id(self, conversation: Conversation) -> str:
        return str(conversation)

    def has_add_permission(self, request) -> bool:
        return False

    def has_change_permission(self, request, obj=None) -> bool:
        return False

    def delete_model(self, request, obj: Conversation) -> None:
        delete_conversation(conversation=obj)

    def delete_queryset(self, request, queryset) -> None:
        for conversation in queryset:
            delete_conversation(conversation=conversation)
