"""Adjusts what drf-spectacular generates from a view."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema

SCOPE = "x-required-scope"
MISSING = "The key lacks the scope that the operation needs"


class OperationSchema(AutoSchema):
    def get_description(self) -> str:  # type: ignore[override]  # as drf-spectacular has it
        """Return nothing: docstrings are for readers of the code. `extend_schema` describes the operations."""
        return ""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Return the operation with the scope that a key needs, and its refusal, shaped as that of a wrong key."""
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        scope = getattr(self.view, "scopes", {}).get(self.method)
        if operation is not None and scope is not None:
            operation[SCOPE] = str(scope)
            responses = operation["responses"]
            if "401" in responses:
                responses.setdefault("403", {**responses["401"], "description": MISSING})
        return operation
