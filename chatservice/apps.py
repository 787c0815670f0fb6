"""The composition root as a Django application: its static files and checks."""

from django.apps import AppConfig


class ChatserviceConfig(AppConfig):
    name = "chatservice"
    verbose_name = "Chat service"
