"""POST executes an operation; GET shows a page to try the API, if documentation is enabled."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from accounts.callers import Principal
from chatservice.dialects.base import AsyncAPIView, json_response
from chatservice.dialects.graphql.errors import render
from chatservice.dialects.graphql.execution import Operation, execute
from chatservice.dialects.graphql.page import page
from chatservice.dialects.json_body import read_object
from chatservice.dialects.leaving import read_leaving


class GraphQLView(AsyncAPIView):
    scopes = {"POST": None}
    render = staticmethod(render)
    http_method_names = ["post", "options"]
    # Only some operations start runs; execution.py decides which.
    starts_runs = frozenset({"POST"})

    async def dispatch(  # type: ignore[override]  # a coroutine, as the base has it
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        if request.method in ("GET", "HEAD") and settings.DOCS and "text/html" in request.headers.get("accept", ""):
            return page()
        return await super().dispatch(request, *args, **kwargs)

    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        operation = Operation.read(read_object(request))
        read_leaving(request, "graphql", keyed=True)  # refuses a wrong header before anything is executed
        status, payload = await execute(operation, principal, request)
        return json_response(payload, status)
