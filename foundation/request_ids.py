"""The id of the HTTP request that is being answered: it is in the response's headers, and stored with its runs."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Empty outside of requests, and in a websocket's."""
