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


TABLES = Tables.of(apps)
