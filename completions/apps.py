from django.apps import AppConfig


class CompletionsConfig(AppConfig):
    name = "completions"

    def ready(self) -> None:
        from completions import checks, deletion, personal_data  # noqa: F401  they connect and register themselves
