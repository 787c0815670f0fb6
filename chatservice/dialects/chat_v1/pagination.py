"""Pages by `page` and `limit`, with a `meta` that gives the totals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework.pagination import BasePagination
from rest_framework.response import Response

from chatservice.dialects.chat_v1.envelope import Page, envelope
from chatservice.dialects.problems import BadRequest

MAX_LIMIT = 100
NUMBER = re.compile(r"[0-9]{1,9}\Z", re.ASCII)
PARAMETERS: list[dict[str, Any]] = [
    {"name": "page", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": 1}},
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}},
]


@dataclass(frozen=True, slots=True)
class PageRequest:
    page: int
    limit: int

    @classmethod
    def read(cls, query: Mapping[str, Any], *, default_limit: int) -> PageRequest:
        """Read `page` and `limit`; raises BadRequest if they are invalid."""
        return cls(
            page=_number(query, "page", default=1, maximum=999_999_999),
            limit=_number(query, "limit", default=default_limit, maximum=MAX_LIMIT),
        )

    def cut(self, total: int) -> slice:
        """Return this page's part of `total` rows: empty past the end."""
        first = min((self.page - 1) * self.limit, total)
        return slice(first, min(first + self.limit, total))

    def meta(self, total: int) -> dict[str, int]:
        return {"total": total, "page": self.page, "limit": self.limit, "totalPages": -(-total // self.limit)}


def _number(query: Mapping[str, Any], name: str, *, default: int, maximum: int) -> int:
    text = query.get(name)
    if text is None or text == "":
        return default
    if NUMBER.match(text) is None or not 1 <= int(text) <= maximum:
        wanted = f"A whole number from 1 to {maximum}."
        raise BadRequest(f"{name}: {wanted}", code="validation_error", param=name, details={name: [wanted]})
    return int(text)


class PagePagination(BasePagination):
    default_limit = 10

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> list[Any]:
        self.asked = PageRequest.read(request.query_params, default_limit=self.default_limit)
        self.total = queryset.count()
        rows = self.asked.cut(self.total)
        return list(queryset[rows]) if rows.stop > rows.start else []

    def get_paginated_response(self, data: Any) -> Response:
        return Response(Page(envelope(data, meta=self.asked.meta(self.total))))

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return PARAMETERS

    def get_paginated_response_schema(self, schema: Any) -> Any:
        return page_schema(schema)


def page_schema(rows: Any) -> dict[str, Any]:
    numbers = ("total", "page", "limit", "totalPages")
    return {
        "type": "object",
        "required": ["success", "data", "meta"],
        "properties": {
            "success": {"type": "boolean"},
            "data": rows,
            "meta": {
                "type": "object",
                "required": list(numbers),
                "properties": {name: {"type": "integer"} for name in numbers},
            },
        },
    }
