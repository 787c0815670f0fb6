from django.apps import AppConfig


class CompletionsConfig(AppConfig):
    name = "completions"

    def ready(self) -> None:
        from completions import checks, deletion, personal_data, reranking  # noqa: F401  they register themselves
        from completions.models import Run
        from conversations.quota_triggers import count_column

        count_column(Run, "echo", owner="user_id")
