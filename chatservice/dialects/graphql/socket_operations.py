"""Runs one operation of a socket. It sends any number of `next` frames and then `complete`, or one `error`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from accounts.callers import Principal
from chatservice.dialects.base import begin_counting, count_read
from chatservice.dialects.graphql.context import Context
from chatservice.dialects.graphql.errors import is_request_error, shown
from chatservice.dialects.graphql.execution import (
    UNUSABLE,
    Operation,
    count_failure,
    only_starts_runs,
    payload_of,
    unusable,
)
from chatservice.dialects.graphql.schema import schema

Told = AsyncGenerator[tuple[str, Any], None]


async def run_operation(operation: Operation, principal: Principal) -> Told:
    """Yield the type and payload of each frame. Never raises."""
    begin_counting()
    try:
        if not only_starts_runs(operation):
            await count_read(principal)
        results: Any = await schema.stream(
            operation.query,
            variable_values=operation.variables,
            context_value=Context(principal, operation.name),
            operation_name=operation.name,
        )
        async with aclosing(results):
            async for result in results:
                await count_failure(result, principal)
                if is_request_error(result.errors):
                    yield "error", [_told(error) for error in result.errors]
                    return
                yield "next", payload_of(result)
    except Exception as error:
        yield "error", [_told(error)]
        return
    yield "complete", None


def _told(error: Any) -> dict[str, Any]:
    original = getattr(error, "original_error", None)
    if isinstance(original, UNUSABLE):
        return shown(unusable(original))
    return shown(unusable(error)) if isinstance(error, UNUSABLE) else shown(error)
