"""Where the websocket is."""

from django.urls import path

from completions.consumers import CompletionConsumer

websocket_urlpatterns = [path("ws/chat", CompletionConsumer.as_asgi()), path("ws/chat/", CompletionConsumer.as_asgi())]
