"""The paths of the OpenAI-compatible API, below `/v1/`."""

from django.urls import path

from chatservice.dialects.openai_v1 import embeddings, files, models, stored_completions
from chatservice.dialects.openai_v1.conversations import views as conversations
from chatservice.dialects.openai_v1.responses import compacting
from chatservice.dialects.openai_v1.responses import views as responses

app_name = "openai_v1"

COMPLETION = "chat/completions/<str:completion_id>"
CONVERSATION = "conversations/<str:conversation_id>"

urlpatterns = [
    path("chat/completions", stored_completions.CompletionsView.as_view(), name="completion-list"),
    path(COMPLETION, stored_completions.CompletionView.as_view(), name="completion-detail"),
    path(f"{COMPLETION}/messages", stored_completions.CompletionMessagesView.as_view(), name="completion-messages"),
    path("conversations", conversations.ConversationsView.as_view(), name="conversation-list"),
    path(CONVERSATION, conversations.ConversationView.as_view(), name="conversation-detail"),
    path(f"{CONVERSATION}/items", conversations.ItemsView.as_view(), name="item-list"),
    path(f"{CONVERSATION}/items/<str:item_id>", conversations.ItemView.as_view(), name="item-detail"),
    path("embeddings", embeddings.EmbeddingsView.as_view(), name="embedding-create"),
    path("files", files.FilesView.as_view(), name="file-list"),
    path("files/<str:file_id>", files.FileView.as_view(), name="file-detail"),
    path("files/<str:file_id>/content", files.FileContentView.as_view(), name="file-content"),
    path("models", models.ModelsView.as_view(), name="model-list"),
    path("models/<path:model>", models.ModelView.as_view(), name="model-detail"),
    path("responses", responses.ResponsesView.as_view(), name="response-create"),
    path("responses/compact", compacting.CompactView.as_view(), name="response-compact"),
    path("responses/input_tokens", responses.InputTokensView.as_view(), name="response-input-tokens"),
    path("responses/<str:response_id>", responses.ResponseView.as_view(), name="response-detail"),
    path("responses/<str:response_id>/cancel", responses.CancelView.as_view(), name="response-cancel"),
    path("responses/<str:response_id>/input_items", responses.InputItemsView.as_view(), name="response-input-items"),
]
