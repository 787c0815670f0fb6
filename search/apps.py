from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class SearchConfig(AppConfig):
    name = "search"

    def ready(self) -> None:
        from search import checks  # noqa: F401  registers the system checks

        pre_migrate.connect(_before_migrations, sender=self)
        post_migrate.connect(_after_migrations, sender=self)


def _before_migrations(sender: Any, using: str, **kwargs: Any) -> None:
    """Take the triggers away: migrations of other apps may make the tables anew that they watch."""
    from search.backends import backend

    if using == "default":
        backend().uninstall()


def _after_migrations(sender: Any, using: str, **kwargs: Any) -> None:
    """Create what only this database knows, and find what changed while nobody watched."""
    from django.db import connection

    from search.backends import backend
    from search.indexing import note_missing

    if using == "default" and "search_entry" in connection.introspection.table_names():
        backend().install()
        note_missing()
