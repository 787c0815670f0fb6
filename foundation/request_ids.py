"""The id of the HTTP request being answered: it is in the response's headers, and stored with the request's runs."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Empty outside of requests, and in a websocket's."""
