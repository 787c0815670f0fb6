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
    from accounts.database import lift_time_limit
    from search.backends import backend

    if using == "default":
        lift_time_limit()  # of all migrations: with a million messages they take longer than a request's statements may
        if plan:
            backend().uninstall()


def _after_migrations(sender: Any, using: str, plan: Any = (), **kwargs: Any) -> None:
    """Create what only this database knows, and find what changed while nobody watched."""
    from django.db import connection

    from accounts.database import restore_time_limit
    from search.backends import backend
    from search.indexing import forget_gone, note_missing

    if using != "default":
        return
    if "search_entry" in connection.introspection.table_names():
        unwatched = backend().install()
        if unwatched or plan:
            forget_gone()
            note_missing()
    restore_time_limit()
