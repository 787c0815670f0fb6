"""The one path of this API."""

from django.urls import path

from chatservice.dialects.mcp.views import McpView

app_name = "mcp"

urlpatterns = [path("", McpView.as_view(), name="mcp")]
