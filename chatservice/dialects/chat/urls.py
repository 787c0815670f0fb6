"""The paths of the chat API, below `/chat/`."""

from django.urls import path

from chatservice.dialects.chat import stream_view, views

app_name = "chat"

urlpatterns = [
    path("conversation", views.ConversationsView.as_view(), name="conversation-create"),
    path("conversation/<str:conversation_id>", views.ConversationView.as_view(), name="conversation-detail"),
    path("conversation/<str:conversation_id>/message", views.MessageView.as_view(), name="message-create"),
    path("conversation/<str:conversation_id>/messages", views.MessagesView.as_view(), name="message-list"),
    path("conversation/<str:conversation_id>/stream", stream_view.StreamView.as_view(), name="stream"),
]
