from typing import Any

from django.apps import AppConfig
from django.apps import apps as current
from django.core.exceptions import FieldDoesNotExist
from django.db.models.signals import post_migrate, pre_migrate


class SearchConfig(AppConfig):
    name = "search"

    def ready(self) -> None:
        from search import checks  # noqa: F401  registers the system checks

        pre_migrate.connect(_before_migrations, sender=self)
        post_migrate.connect(_after_migrations, sender=self)


def _before_migrations(sender: Any, using: str, **kwargs: Any) -> None:
    from foundation.database import lift_time_limit

    if using == "default":
        lift_time_limit()  # for all migrations: on a million messages they take longer than a request may


def _after_migrations(sender: Any, using: str, plan: Any = (), apps: Any = current, **kwargs: Any) -> None:
    """Complete the schema, and find messages that changed while there were no triggers."""
    from foundation.database import restore_time_limit
    from search.backends import backend
    from search.indexing import forget_gone, note_missing

    if using != "default":
        return
    if _is_migrated(apps):
        was_unwatched = backend().install()
        if was_unwatched or plan:
            forget_gone()
            note_missing()
    restore_time_limit()


def _is_migrated(apps: Any) -> bool:
    """Tell whether the tables have the form that the back ends expect; false after a migration backwards."""
    try:
        apps.get_model("search.Passage")._meta.get_field("vector")
        apps.get_model("files.FileText")
        apps.get_model("conversations.MessagePart")._meta.get_field("file")
    except (LookupError, FieldDoesNotExist):
        return False
    return True
