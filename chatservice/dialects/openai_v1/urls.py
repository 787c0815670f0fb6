"""The paths of the OpenAI-compatible API, below `/v1/`."""

from django.urls import path

from chatservice.dialects.openai_v1 import embeddings, models, views

app_name = "openai_v1"

urlpatterns = [
    path("chat/completions", views.ChatCompletionsView.as_view(), name="completion-create"),
    path("embeddings", embeddings.EmbeddingsView.as_view(), name="embedding-create"),
    path("models", models.ModelsView.as_view(), name="model-list"),
    path("models/<path:model>", models.ModelView.as_view(), name="model-detail"),
]
