"""Installed only if there are traces: see chatservice/trace_settings.py."""

from django.apps import AppConfig


class TracingConfig(AppConfig):
    name = "observability.tracing"

    def ready(self) -> None:
        from chatservice.signals import serving_started
        from observability.tracing import receivers

        # Later than this: commands have no traces, and a process that serves has no thread before it needs one.
        serving_started.connect(receivers.begin, weak=False, dispatch_uid="traces")
