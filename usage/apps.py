from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "usage"

    def ready(self) -> None:
        from usage import checks, own_prices, personal_data  # noqa: F401  they register and connect themselves
