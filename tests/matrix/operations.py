"""Finds in the service itself everything that the matrix must declare: routes, documents, the graph, frames, tools."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from django.contrib import admin
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from chatservice.dialects import DIALECTS
from chatservice.docs import documented_dialects, schema_of
from tests.matrix.rows import Row

CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>")
# A property or argument with such a name may hold somebody else's id.
NAMES_SOMETHING = re.compile(
    r"(^id$|_ids?$|Ids?$|^after$|^before$|^around$|^uri$|^cursor$|^branch$|^client_id$|[iI]dempotency.?[kK]ey$|^Last-Event-ID$)"
)
# Methods that are answered without a handler in the view.
BY_ITSELF = {"OPTIONS", "HEAD", "TRACE"}


def rows() -> list[Row]:
    """Return the declared rows of the site and of every installed dialect."""
    found: list[Row] = []
    for name in ("site", *DIALECTS):
        try:
            found += importlib.import_module(f"tests.matrix.{name}").ROWS
        except ModuleNotFoundError as missing:
            if missing.name != f"tests.matrix.{name}":
                raise  # a dialect without rows is reported for its undeclared operations
    return found


def routes() -> Iterator[tuple[str, URLPattern]]:
    """Yield every route with its path."""

    def walk(patterns: list[Any], before: str) -> Iterator[tuple[str, URLPattern]]:
        for each in patterns:
            if isinstance(each, URLResolver):
                yield from walk(each.url_patterns, before + str(each.pattern))
            else:
                yield before + str(each.pattern), each

    return walk(get_resolver().url_patterns, "/")


def methods_of(callback: Any) -> set[str]:
    """Return the methods for which a view has a handler; a plain function handles GET."""
    view = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
    if view is None or not issubclass(view, APIView):
        return {"GET"}
    names = getattr(callback, "actions", None) or {name: name for name in view.http_method_names if hasattr(view, name)}
    return {name.upper() for name in names} - BY_ITSELF


def named(path: str) -> str:
    """Return a route with its parameters written as in OpenAPI."""
    return CONVERTER.sub(r"{\1}", path)


def http_operations() -> set[str]:
    return {
        f"{method} {named(path)}"
        for path, route in routes()
        if not path.startswith("/admin/")
        for method in methods_of(route.callback)
    }


def documented_operations() -> dict[str, set[str]]:
    """Return each documented operation, with the positions that may hold somebody else's id."""
    found: dict[str, set[str]] = {}
    for dialect in documented_dialects():
        schema = schema_of(dialect)
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                found[f"{method.upper()} {path}"] = set(_positions(schema, operation))
    return found


def _positions(schema: dict[str, Any], operation: dict[str, Any]) -> Iterator[str]:
    for parameter in operation.get("parameters", ()):
        place, name = parameter["in"], parameter["name"]
        if place == "path":
            yield "path"
        elif NAMES_SOMETHING.search(name):
            yield f"{place} {name}"
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for name in properties(schema, content["schema"]):
            if NAMES_SOMETHING.search(name):
                yield f"body {name}"


def properties(schema: dict[str, Any], shape: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a schema, which may be a reference or put together from parts."""
    if "$ref" in shape:
        shape = schema["components"]["schemas"][shape["$ref"].rpartition("/")[2]]
    parts = [properties(schema, part) for keyword in ("allOf", "anyOf") for part in shape.get(keyword, ())]
    return {name: each for part in [*parts, shape.get("properties", {})] for name, each in part.items()}


def graph_operations() -> dict[str, set[str]]:
    """Return each GraphQL root field, and each field that leads to objects, with the arguments that may hold an id."""
    if "graphql" not in DIALECTS:
        return {}
    from graphql import get_named_type, is_composite_type, is_object_type

    graph = importlib.import_module("chatservice.dialects.graphql.schema").schema._schema
    roots = {graph.query_type: "query", graph.mutation_type: "mutation", graph.subscription_type: "subscription"}
    found: dict[str, set[str]] = {}
    for kind in graph.type_map.values():
        if not is_object_type(kind) or kind.name.startswith("__"):
            continue
        for name, field in kind.fields.items():
            arguments = {
                f"argument {each}"
                for each, argument in field.args.items()
                if NAMES_SOMETHING.search(each) or get_named_type(argument.type).name == "ID"
            }
            if kind in roots:
                found[f"{roots[kind]} {name}"] = arguments
            elif field.args or is_composite_type(get_named_type(field.type)):
                found[f"field {kind.name}.{name}"] = arguments
    return found


def frame_operations() -> dict[str, set[str]]:
    """Return each frame that a client may send, with the fields that may hold an id. `id` is the frame's own."""
    found: dict[str, set[str]] = {}
    if "websocket" not in DIALECTS:
        return found
    client_frames = importlib.import_module("chatservice.dialects.websocket.client_frames")
    for kind in client_frames.ClientFrame.__args__:
        fields = {field.name for field in msgspec.structs.fields(kind)} - {"id"}
        named = {f"frame {name}" for name in fields if NAMES_SOMETHING.search(name)}
        found[f"frame {kind.__struct_config__.tag}"] = named
    return found


def tool_operations() -> dict[str, set[str]]:
    """Return each tool of the MCP server, and each method of its resources, with the arguments that may hold an id."""
    if "mcp" not in DIALECTS:
        return {}
    tools = importlib.import_module("chatservice.dialects.mcp.tools").TOOLS
    taken = {f"tool {name}": tool.takes.__struct_fields__ for name, tool in tools.items()}
    taken |= {"resources list": ("cursor",), "resources templates/list": (), "resources read": ("uri",)}
    return {
        operation: {f"argument {name}" for name in names if NAMES_SOMETHING.search(name)}
        for operation, names in taken.items()
    }


def admin_models() -> set[str]:
    return {model._meta.label for model in admin.site._registry}


def admin_pages() -> set[str]:
    """Return the pages of the admin site that belong to no model."""
    labels = {f"{model._meta.app_label}/" for model in admin.site._registry}
    inside = {path.removeprefix("/admin/") for path, _ in routes() if path.startswith("/admin/")}
    return {page for page in inside if not any(page.startswith(label) for label in labels)}
