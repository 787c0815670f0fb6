"""Where the OpenAI surface answers, below `/v1/`."""

from django.urls import path

from chatservice.dialects.openai_v1 import views

app_name = "openai_v1"

urlpatterns = [
    path("chat/completions", views.ChatCompletionsView.as_view(), name="completion-create"),
    path("models", views.ModelsView.as_view(), name="model-list"),
    path("models/<path:model>", views.ModelView.as_view(), name="model-detail"),
]
