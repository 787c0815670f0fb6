"""Installed only if metrics are on: see chatservice/metrics_settings.py."""

from django.apps import AppConfig


class ObservabilityConfig(AppConfig):
    name = "observability"

    def ready(self) -> None:
        from observability import receivers

        receivers.connect()
