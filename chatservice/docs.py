"""One OpenAPI schema per dialect, and Swagger UI over all of them; nothing is loaded from other hosts."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import include, path
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings

from chatservice.dialects import DIALECTS
from chatservice.dialects.base import json_response


@functools.cache
def schema_of(dialect: str) -> dict[str, Any]:
    """Return the OpenAPI document of a dialect. One each, because same-named shapes would collide in a common one."""
    package = importlib.import_module(f"chatservice.dialects.{dialect}")
    patterns = [path(DIALECTS[dialect], include(f"chatservice.dialects.{dialect}.urls"))]
    summary, _, description = (package.__doc__ or "").partition("\n")
    about = {"TITLE": summary.rstrip("."), "DESCRIPTION": description.strip()}
    with patched_settings({**about, **getattr(package, "SCHEMA_SETTINGS", {})}):
        generator = SchemaGenerator(patterns=patterns)  # type: ignore[no-untyped-call]  # nothing there has types
        document: dict[str, Any] = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return document


def documented_dialects() -> list[str]:
    """Return the dialects that have an OpenAPI schema: GraphQL, for example, documents itself."""
    return [
        name for name in DIALECTS if getattr(importlib.import_module(f"chatservice.dialects.{name}"), "SCHEMA", True)
    ]


async def schema(request: HttpRequest, dialect: str) -> HttpResponse:
    if dialect not in documented_dialects():
        raise Http404
    response = json_response(schema_of(dialect))
    response.headers["Cache-Control"] = "no-cache"
    return response


async def swagger(request: HttpRequest) -> HttpResponse:
    response = render(request, "docs.html", {"dialects": documented_dialects()})
    response.headers["Cache-Control"] = "no-cache"
    return response
