"""Serves everything under URL_PREFIX, whether the proxy in front passes the prefix on or removes it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import is_valid_path


def make_full(scope: dict[str, Any]) -> None:
    """Make the path of a request the one that its client sees, with the prefix once.

    The scope's own prefix never counts: Daphne takes it from a header of the client, and it would reroute the request.
    """
    scope["root_path"] = ""
    if settings.URL_PREFIX:
        scope["path"] = settings.URL_PREFIX + without(scope["path"])


def cut(scope: dict[str, Any]) -> None:
    """Make the path of a websocket the one that our routes know."""
    scope["root_path"] = ""
    scope["path"] = without(scope["path"])


def without(path: str) -> str:
    """Return `path` as our routes know it.

    If the proxy removed the prefix, a route of ours may begin with the same word: under /chat, /chat/conversation can
    be a route, as `conversation` is none, and /chat/v1/models is the prefix and a route.
    """
    prefix = settings.URL_PREFIX
    rest = path.removeprefix(prefix) or "/"
    if not prefix or rest == path or not rest.startswith("/"):
        return path
    return rest if is_valid_path(rest.rstrip("/") or "/") or not is_valid_path(path.rstrip("/")) else path
