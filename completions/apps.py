from django.apps import AppConfig


class CompletionsConfig(AppConfig):
    name = "completions"

    def ready(self) -> None:
        from completions import checks, deletion  # noqa: F401  registers the system checks and the receivers
