from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "webhooks"

    def ready(self) -> None:
        from webhooks import delivery, outbox  # noqa: F401  they connect themselves to signals
