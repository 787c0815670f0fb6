from django.apps import AppConfig


class ImportsConfig(AppConfig):
    name = "imports"

    def ready(self) -> None:
        from imports import personal_data, running  # noqa: F401  they connect themselves to registries and signals
