"""The id of the HTTP request that is being answered: its response carries it, and what is stored of it can name it."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Empty outside of requests, and in a websocket's."""
