"""One operation, from a client's JSON to the answer, whatever it came in by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from rest_framework.exceptions import Throttled
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from accounts import throttling
from accounts.database import in_database_thread
from accounts.principal import Principal
from chatservice.dialects.graphql.context import Context
from chatservice.dialects.graphql.errors import is_request_error, shown
from chatservice.dialects.graphql.schema import schema
from chatservice.dialects.problems import BadRequest

BY_HTTP = (OperationType.QUERY, OperationType.MUTATION)
UNUSABLE = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client sends to be executed."""

    query: str
    variables: dict[str, Any]
    name: str | None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Operation:
        """Check a request's JSON; raises BadRequest."""
        query, variables, name = body.get("query"), body.get("variables"), body.get("operationName")
        if not isinstance(query, str) or not query.strip():
            raise BadRequest("'query' must be the text of a document.", param="query")
        if variables is not None and not isinstance(variables, dict):
            raise BadRequest("'variables' must be an object.", param="variables")
        if name is not None and not isinstance(name, str):
            raise BadRequest("'operationName' must be a text.", param="operationName")
        if body.get("extensions") is not None and not isinstance(body["extensions"], dict):
            raise BadRequest("'extensions' must be an object.", param="extensions")
        return cls(query, variables or {}, name or None)


async def execute(operation: Operation, principal: Principal) -> tuple[int, dict[str, Any]]:
    """Return status and body: 200 for what was executed, 400 for what could not be. Raises BadRequest."""
    await count_read(principal)
    try:
        result = await schema.execute(
            operation.query,
            variable_values=operation.variables,
            context_value=Context(principal, operation.name),
            operation_name=operation.name,
            allowed_operation_types=BY_HTTP,
        )
    except UNUSABLE as error:
        raise unusable(error) from error
    return (400 if is_request_error(result.errors) else 200), payload_of(result)


async def count_read(principal: Principal) -> None:
    """Count one operation against its caller's limit; raises Throttled."""
    limit = settings.LIMIT_READS_PER_MINUTE
    if limit and (wait := await in_database_thread(_hit, f"reads:{principal.user_id.hex}", limit)):
        raise Throttled(wait=wait)


def unusable(error: Exception) -> BadRequest:
    """Return why a document names nothing that can be executed here."""
    if isinstance(error, InvalidOperationTypeError):
        return BadRequest("Subscriptions need a websocket: graphql-transport-ws.", code="not_possible_here")
    return BadRequest("The document has no such operation; 'operationName' picks one of several.")


def payload_of(result: ExecutionResult) -> dict[str, Any]:
    """Return a result as it goes over the wire."""
    payload: dict[str, Any] = {}
    if not is_request_error(result.errors):
        payload["data"] = result.data
    if result.errors:
        payload["errors"] = [shown(error) for error in result.errors]
    return payload


def _hit(key: str, limit: int) -> int:
    return throttling.hit(key, limit=limit)
