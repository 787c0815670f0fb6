from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class SearchConfig(AppConfig):
    name = "search"

    def ready(self) -> None:
        from search import checks  # noqa: F401  registers the system checks

        pre_migrate.connect(_before_migrations, sender=self)
        post_migrate.connect(_after_migrations, sender=self)


def _before_migrations(sender: Any, using: str, plan: Any = (), **kwargs: Any) -> None:
    """Take the triggers away where tables may change under them; a start with nothing to migrate leaves them.

    Without them what another process on the same file deletes meanwhile would stay in the index.
    """
    from search.backends import backend

    if using == "default" and plan:
        backend().uninstall()


def _after_migrations(sender: Any, using: str, plan: Any = (), **kwargs: Any) -> None:
    """Create what only this database knows, and find what changed while nobody watched."""
    from django.db import connection

    from accounts.database import lift_time_limit, restore_time_limit
    from search.backends import backend
    from search.indexing import forget_gone, note_missing

    if using == "default" and "search_entry" in connection.introspection.table_names():
        lift_time_limit()
        unwatched = backend().install()
        if unwatched or plan:
            forget_gone()
            note_missing()
        restore_time_limit()
