"""The context of one operation: the caller, and what was already looked up."""

from __future__ import annotations

from typing import Any, cast

from django.http import HttpRequest
from strawberry.types import Info

from accounts.callers import Principal
from chatservice.dialects.graphql.loaders import Loaders


class Context:
    """`request` is None for what comes over a websocket."""

    def __init__(
        self, principal: Principal, operation_name: str | None = None, request: HttpRequest | None = None
    ) -> None:
        self.principal = principal
        self.operation_name = operation_name
        self.request = request
        self.loaders = Loaders(principal)

    def forget(self) -> None:
        """Forget what was looked up, because something was written."""
        self.loaders = Loaders(self.principal)


def context_of(info: Info[Any, Any]) -> Context:
    return cast(Context, info.context)


def principal_of(info: Info[Any, Any]) -> Principal:
    return context_of(info).principal


def loaders_of(info: Info[Any, Any]) -> Loaders:
    return context_of(info).loaders
