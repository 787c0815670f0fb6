from django.apps import AppConfig


class SharingConfig(AppConfig):
    name = "sharing"

    def ready(self) -> None:
        from sharing import personal_data  # noqa: F401  it registers the owners of the rows, and what ends their links
