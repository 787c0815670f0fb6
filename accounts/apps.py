from typing import Any

from django.apps import AppConfig
from django.db import DEFAULT_DB_ALIAS
from django.db.models.signals import post_migrate, pre_migrate


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import checks  # noqa: F401  registers the system checks

        pre_migrate.connect(_before_migrations, sender=self)
        post_migrate.connect(_after_migrations, sender=self)


def _before_migrations(sender: Any, using: str, **kwargs: Any) -> None:
    """Migrations of a database with a million messages take longer than a request's statements may."""
    from accounts.database import lift_time_limit

    if using == DEFAULT_DB_ALIAS:
        lift_time_limit()


def _after_migrations(sender: Any, using: str, **kwargs: Any) -> None:
    from accounts.database import restore_time_limit

    if using == DEFAULT_DB_ALIAS:
        restore_time_limit()
