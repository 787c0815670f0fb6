from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class ConversationsConfig(AppConfig):
    name = "conversations"

    def ready(self) -> None:
        from conversations import (
            access_log,  # noqa: F401  connects itself
            checks,  # noqa: F401  registers itself
            personal_data,  # noqa: F401  registers itself
            quota_triggers,
        )
        from conversations.models import Conversation, ConversationTag

        quota_triggers.count_column(Conversation, "generation", owner="owner_id")
        quota_triggers.count_column(ConversationTag, "name", owner="owner_id")
        pre_migrate.connect(_before_migrations, sender=self)
        post_migrate.connect(_after_migrations, sender=self)


def _before_migrations(sender: Any, using: str, plan: Any = (), **kwargs: Any) -> None:
    from django.db import connection

    from conversations import quota_triggers

    if using == "default" and plan and connection.vendor == "sqlite":
        quota_triggers.uninstall()


def _after_migrations(sender: Any, using: str, plan: Any = (), **kwargs: Any) -> None:
    """Install the triggers that count what accounts hold, and count once everything that was stored before."""
    from django.db import connection

    from conversations import quota, quota_triggers

    if using != "default":
        return
    if not {quota_triggers.USAGE, quota_triggers.PART} <= set(connection.introspection.table_names()):
        quota_triggers.uninstall()  # migrated backwards: triggers would refer to a table that no longer exists
    elif quota_triggers.install(anew=bool(plan)):
        quota.recount()
