"""Pages of lists in OpenAI's shape: `after` names the item before the page, `order` is asc or desc."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatservice.dialects.problems import BadRequest

DEFAULT, MOST = 20, 100


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for: what follows `after`, or its beginning if that is empty."""

    after: str
    limit: int
    newest_first: bool


def read_page(query: Mapping[str, Any], *, newest_first: bool) -> Page:
    """Return the page that a query asks for, of a list too long to read whole; raises BadRequest."""
    order = read_order(query, default="desc" if newest_first else "asc")
    return Page(query.get("after", ""), read_limit(query), order == "desc")


def unknown_position() -> BadRequest:
    return BadRequest("'after' names no item of this list.", code="invalid_value", param="after")


def page_of(items: Sequence[dict[str, Any]], query: Mapping[str, Any], *, newest_first: bool) -> dict[str, Any]:
    """Return a page of `items`, given oldest first; raises BadRequest for parameters that are not valid."""
    limit = read_limit(query)
    if read_order(query, default="desc" if newest_first else "asc") == "desc":
        items = items[::-1]
    if (after := query.get("after")) is not None:
        at = next((at for at, item in enumerate(items) if item.get("id") == after), None)
        if at is None:
            raise unknown_position()
        items = items[at + 1 :]
    return list_of(items[:limit], has_more=len(items) > limit)


def list_of(data: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return OpenAI's list object. The ids of an empty one are empty, which clients take for the end."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else ("", "")
    return {"object": "list", "data": list(data), "first_id": first, "last_id": last, "has_more": has_more}


def read_limit(query: Mapping[str, Any], *, default: int = DEFAULT, most: int = MOST) -> int:
    text = str(query.get("limit", default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
        raise BadRequest(f"'limit' must be between 1 and {most}.", code="invalid_value", param="limit")
    return int(text)


def read_order(query: Mapping[str, Any], *, default: str) -> str:
    order = query.get("order", default)
    if order not in ("asc", "desc"):
        raise BadRequest("'order' must be asc or desc.", code="invalid_value", param="order")
    return str(order)
