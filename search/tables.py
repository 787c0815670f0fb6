"""The names of the tables that raw SQL uses: the current ones, or those at the time of a migration."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.apps import apps


class Tables(NamedTuple):
    partition: str
    entry: str
    passage: str
    pending: str
    message: str
    conversation: str
    # Empty in migrations from the time before the text of files.
    part: str = ""
    file: str = ""
    file_text: str = ""

    @classmethod
    def of(cls, registry: Any) -> Tables:
        models = [
            *("search.IndexPartition", "search.Entry", "search.Passage", "search.PendingMessage"),
            *("conversations.Message", "conversations.Conversation"),
        ]
        known = {model._meta.label for model in registry.get_models()}
        if {"conversations.MessagePart", "files.FileText"} <= known:
            models += ["conversations.MessagePart", "files.File", "files.FileText"]
        return cls(*(registry.get_model(model)._meta.db_table for model in models))

    def carrying_messages(self) -> str:
        """Return the SELECT of what `pending` has of messages with files, by `file`, their text `said`, and `part`."""
        return (
            f"SELECT DISTINCT message.id, conversation.owner_id, 0, 0, 0 FROM {self.file} file "  # noqa: S608
            f"JOIN {self.file_text} said ON said.owner_id = file.owner_id AND said.sha256 = file.sha256 "
            f"JOIN {self.part} part ON part.file_id = file.id "
            f"JOIN {self.message} message ON message.id = part.message_id "
            f"JOIN {self.conversation} conversation ON conversation.id = message.conversation_id "
            "AND conversation.owner_id = file.owner_id"
        )


TABLES = Tables.of(apps)
