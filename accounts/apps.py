from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import browser_sessions, checks  # noqa: F401  registers what notes sign-ins, and the system checks
