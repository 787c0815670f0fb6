"""System checks: settings that search cannot work with."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError, connection

from search import rerankers
from search.backends import backend
from search.embedders import problem_with
from search.languages import known_language
from search.tables import TABLES


@register()
def language_is_known(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if known_language(settings.SEARCH_LANGUAGE):
        return []
    return [
        Error(f"SEARCH_LANGUAGE {settings.SEARCH_LANGUAGE!r} is not a language that can be stemmed.", id="search.E001"),
    ]


@register()
def embedder_can_be_had(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    problem = problem_with(settings.SEARCH_EMBEDDER)
    return [Error(f"SEARCH_EMBEDDER: {problem}", id="search.E002")] if problem else []


@register()
def reranker_can_be_had(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    problem = rerankers.problem_with(settings.SEARCH_RERANKER)
    return [Error(f"SEARCH_RERANKER: {problem}", id="search.E003")] if problem else []


@register(Tags.database)
def vectors_can_be_kept(app_configs: Any, databases: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check that the database can store vectors; runs in `manage.py check --database default` and before `migrate`."""
    try:
        is_new = TABLES.passage not in connection.introspection.table_names()
        if not databases or is_new or backend().has_vectors():
            return []
    except DatabaseError:
        return []
    return [
        Warning(
            "This PostgreSQL has no pgvector: search works by words only. Run CREATE EXTENSION vector in this "
            "database, then run `manage.py migrate` again.",
            id="search.W001",
        )
    ]
