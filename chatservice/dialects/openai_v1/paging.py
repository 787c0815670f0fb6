"""OpenAI's lists: `after`, `limit` and `order` in the query, and the list object that answers it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter

from chatservice.dialects.problems import BadRequest

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
ORDERS = ("asc", "desc")
NUMBER = re.compile(r"[0-9]{1,3}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for: what follows `after`, or its beginning if that is empty."""

    after: str
    limit: int
    newest_first: bool


def read_page(query: QueryDict, *, order: str) -> Page:
    """Return the page that a query asks for, in this `order` by default; raises BadRequest."""
    limit, wanted = query.get("limit", str(DEFAULT_LIMIT)), query.get("order", order)
    if not NUMBER.match(limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise BadRequest(f"'limit' must be between 1 and {MAX_LIMIT}.", code="invalid_value", param="limit")
    if wanted not in ORDERS:
        raise BadRequest("'order' must be 'asc' or 'desc'.", code="invalid_value", param="order")
    return Page(query.get("after", ""), int(limit), wanted == "desc")


def unknown_position() -> BadRequest:
    """Return the refusal of an `after` that cannot be an id of this list."""
    return BadRequest("'after' must be the id of something in this list.", code="invalid_value", param="after")


def list_object(data: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return the list object of these objects, each of which has an id."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else ("", "")
    return {"object": "list", "data": list(data), "first_id": first, "last_id": last, "has_more": has_more}


def page_parameters(order: str, what: str) -> list[OpenApiParameter]:
    """Return the documentation of these query parameters."""
    return [
        OpenApiParameter("after", str, description=f"the id of the {what} after which the page begins"),
        OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}),
        OpenApiParameter("order", str, enum=ORDERS, default=order),
    ]
