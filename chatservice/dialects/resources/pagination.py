"""Plain lists in pages: `?limit=&page=`, with `X-Total-Count` and `Link` beside the list."""

from __future__ import annotations

import re
from typing import Any

from django.http.request import QueryDict
from rest_framework.pagination import BasePagination
from rest_framework.response import Response

from chatservice.dialects.problems import BadRequest

MAX_LIMIT = 100
MAX_PAGE = 1_000_000
NUMBER = re.compile(r"[0-9]{1,7}\Z")


class PlainPages(BasePagination):
    """Pages of 100 rows unless the request says otherwise."""

    everything_by_default = False

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> list[Any]:
        query = request.query_params
        self.request = request
        self.total = len(queryset) if isinstance(queryset, list) else queryset.count()
        self.whole = self.everything_by_default and not {"limit", "page"} & set(query)
        self.limit = _number(query, "limit", default=MAX_LIMIT, most=MAX_LIMIT)
        self.page = _number(query, "page", default=1, most=MAX_PAGE)
        start = (self.page - 1) * self.limit
        return list(queryset if self.whole else queryset[start : start + self.limit])

    def get_paginated_response(self, data: Any) -> Response:
        headers = {"X-Total-Count": str(self.total)}
        if links := ", ".join(self._links()):
            headers["Link"] = links
        return Response(data, headers=headers)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "in": "query",
                "required": False,
                "schema": {"type": "integer", "minimum": 1, "maximum": most},
                "description": description,
            }
            for name, most, description in (
                ("limit", MAX_LIMIT, "maximum number of items"),
                ("page", MAX_PAGE, "page number, from 1"),
            )
        ]

    def _links(self) -> list[str]:
        if self.whole:
            return []
        near = {"prev": self.page - 1, "next": self.page + 1}
        last = max(1, -(-self.total // self.limit))
        return [f'<{self._url(page)}>; rel="{name}"' for name, page in near.items() if 1 <= page <= last]

    def _url(self, page: int) -> str:
        query: QueryDict = self.request.query_params.copy()
        query["limit"], query["page"] = str(self.limit), str(page)
        return f"{self.request.path}?{query.urlencode()}"


class WholeOrPages(PlainPages):
    """All rows, as the document shows it, unless the request asks for pages."""

    everything_by_default = True


def _number(query: QueryDict, name: str, *, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if NUMBER.match(text) is None or not 1 <= int(text) <= most:
        wanted = f"A whole number from 1 to {most}."
        raise BadRequest(f"{name}: {wanted}", code="validation_error", param=name, details={name: [wanted]})
    return int(text)
