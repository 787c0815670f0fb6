"""The paths of the chat API, below `/v1/chat/`."""

from django.urls import path

from chatservice.dialects.chat_v1 import (
    budgets,
    exporting,
    feedback,
    imports,
    keys,
    me,
    searching,
    shared_links,
    usage,
    usage_of_groups,
    views,
    viewsets,
)

app_name = "chat_v1"

CONVERSATIONS = viewsets.ConversationViewSet.as_view({"get": "list", "post": "create"})
CONVERSATION = viewsets.ConversationViewSet.as_view(
    {"get": "retrieve", "patch": "partial_update", "delete": "destroy"},
)
MESSAGE = viewsets.MessageViewSet.as_view({"get": "retrieve", "delete": "destroy"})
ACCESS_LOG = viewsets.AccessLogViewSet.as_view({"get": "list"})
# The former name of the access log: it still answers, but is not documented.
LOOKS = viewsets.AccessLogViewSet.as_view({"get": "list"}, schema=None)
MESSAGES = "conversations/<str:conversation_id>/messages"

urlpatterns = [
    path("access-log", ACCESS_LOG, name="access-log"),
    path("conversations", CONVERSATIONS, name="conversation-list"),
    # Before the paths with an id, or "stream" would be taken for one.
    path("conversations/stream", views.ConversationStreamView.as_view(), name="conversation-stream"),
    path("conversations/<str:pk>", CONVERSATION, name="conversation-detail"),
    path("conversations/<str:conversation_id>/export", exporting.ConversationExportView.as_view(), name="export"),
    path(MESSAGES, views.MessagesView.as_view(), name="conversation-messages"),
    path(f"{MESSAGES}/stream", views.MessageStreamView.as_view(), name="conversation-messages-stream"),
    path("imports", imports.ImportsView.as_view(), name="import-list"),
    path("imports/<str:import_id>", imports.ImportView.as_view(), name="import-detail"),
    path("imports/<str:import_id>/cancel", imports.CancelImportView.as_view(), name="import-cancel"),
    path("looks", LOOKS, name="look-list"),
    path("me", me.MeView.as_view(), name="me"),
    path("me/budgets", budgets.BudgetsView.as_view(), name="budgets"),
    path("me/export", me.ExportView.as_view(), name="me-export"),
    path("me/keys", keys.KeysView.as_view(), name="key-list"),
    path("me/keys/<str:key_id>", keys.KeyView.as_view(), name="key-detail"),
    path("me/keys/<str:key_id>/rotate", keys.KeyRotationView.as_view(), name="key-rotation"),
    path("me/storage", me.StorageView.as_view(), name="storage"),
    path("me/usage", usage.UsageView.as_view(), name="usage"),
    path("usage", usage_of_groups.GroupsUsageView.as_view(), name="usage-of-groups"),
    path("messages/<str:pk>", MESSAGE, name="message-detail"),
    path("messages/<str:message_id>/cancel", views.CancelMessageView.as_view(), name="message-cancel"),
    path("messages/<str:message_id>/feedback", feedback.FeedbackView.as_view(), name="message-feedback"),
    path("messages/<str:message_id>/regenerate", views.RegenerateView.as_view(), name="message-regenerate"),
    path(
        "messages/<str:message_id>/regenerate/stream",
        views.RegenerateStreamView.as_view(),
        name="message-regenerate-stream",
    ),
    path("shared-links", shared_links.SharedLinksView.as_view(), name="shared-link-list"),
    path("shared-links/<str:link_id>", shared_links.SharedLinkView.as_view(), name="shared-link-detail"),
    path("search", searching.SearchView.as_view(), name="search"),
    path("messages/<str:message_id>/continue", views.ContinueView.as_view(), name="message-continue"),
    path(
        "messages/<str:message_id>/continue/stream", views.ContinueStreamView.as_view(), name="message-continue-stream"
    ),
    path("runs/<str:run_id>/cancel", views.CancelRunView.as_view(), name="run-cancel"),
    path("runs/<str:run_id>/stream", views.RunStreamView.as_view(), name="run-stream"),
]
