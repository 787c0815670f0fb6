from django.apps import AppConfig


class FilesConfig(AppConfig):
    name = "files"

    def ready(self) -> None:
        from files import checks, personal_data  # noqa: F401  they connect and register themselves
