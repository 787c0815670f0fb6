"""The paths of users, conversations, runs and search, at the root."""

from typing import Any

from django.urls import path

from chatservice.dialects.resources import conversations, generation, messages, runs, searching, users

app_name = "resources"

ROWS: dict[str, Any] = {"get": "list", "post": "create"}
ROW: dict[str, Any] = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
CONVERSATION = "conversations/<str:conversation_id>"

urlpatterns = [
    path("users", users.UsersView.as_view(ROWS), name="user-list"),
    path("users/<str:name>", users.UsersView.as_view(ROW), name="user-detail"),
    path("users/<str:name>/conversations", users.UserConversationsView.as_view({"get": "list"}), name="user-talks"),
    path("conversations", conversations.ConversationsView.as_view(ROWS), name="conversation-list"),
    path("conversations/start", generation.StartView.as_view(), name="conversation-start"),
    path(CONVERSATION, conversations.ConversationsView.as_view(ROW), name="conversation-detail"),
    path(f"{CONVERSATION}/message", generation.SendView.as_view(), name="message-send"),
    path(f"{CONVERSATION}/messages:complete", generation.CompleteView.as_view(), name="message-complete"),
    path(f"{CONVERSATION}/messages", messages.MessagesView.as_view(ROWS), name="message-list"),
    path(f"{CONVERSATION}/messages/<str:number>", messages.MessagesView.as_view(ROW), name="message-detail"),
    path("runs/<str:run_id>", runs.RunView.as_view(), name="run-detail"),
    path("runs/<str:run_id>/stream", runs.RunStreamView.as_view(), name="run-stream"),
    path("runs/<str:run_id>/cancel", runs.CancelView.as_view(), name="run-cancel"),
    path("search", searching.SearchView.as_view(), name="search"),
]
