"""Executes one operation, from a client's JSON to the response, over HTTP or a websocket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from graphql import FieldNode, GraphQLError, get_operation_ast, parse
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from accounts.callers import Principal
from accounts.scopes import ScopeMissing
from chatservice.dialects.base import WITHOUT_ROOM, count_read
from chatservice.dialects.graphql.context import Context
from chatservice.dialects.graphql.errors import is_request_error, shown
from chatservice.dialects.graphql.schema import schema
from chatservice.dialects.problems import BadRequest

STARTS_RUNS = ("answer", "continueAnswer", "regenerate", "sendMessage")
BY_HTTP = (OperationType.QUERY, OperationType.MUTATION)
UNUSABLE = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)


@dataclass(frozen=True, slots=True)
class Operation:
    """The operation that a client asks to execute."""

    query: str
    variables: dict[str, Any]
    name: str | None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Operation:
        """Check a request's JSON; raises BadRequest."""
        query, variables, name = body.get("query"), body.get("variables"), body.get("operationName")
        if not isinstance(query, str) or not query.strip():
            raise BadRequest("'query' must be a GraphQL document as a string.", param="query")
        if variables is not None and not isinstance(variables, dict):
            raise BadRequest("'variables' must be an object.", param="variables")
        if name is not None and not isinstance(name, str):
            raise BadRequest("'operationName' must be a string.", param="operationName")
        if body.get("extensions") is not None and not isinstance(body["extensions"], dict):
            raise BadRequest("'extensions' must be an object.", param="extensions")
        return cls(query, variables or {}, name or None)


async def execute(
    operation: Operation, principal: Principal, request: HttpRequest | None = None
) -> tuple[int, dict[str, Any]]:
    """Return status and body: 200 if the operation was executed, 400 if it could not be.

    Raises BadRequest, and ScopeMissing if the caller's key may not do all of it.
    """
    if not only_starts_runs(operation):
        await count_read(principal)
    try:
        result = await schema.execute(
            operation.query,
            variable_values=operation.variables,
            context_value=Context(principal, operation.name, request),
            operation_name=operation.name,
            allowed_operation_types=BY_HTTP,
        )
    except UNUSABLE as error:
        raise unusable(error) from error
    await count_failure(result, principal)
    if not is_request_error(result.errors):
        return 200, payload_of(result)
    for each in result.errors or ():
        if isinstance(each.original_error, ScopeMissing):
            raise each.original_error
    return 400, payload_of(result)


def only_starts_runs(operation: Operation) -> bool:
    """Tell whether all of an operation's fields start runs, which are counted in the accept transaction."""
    if not any(field in operation.query for field in STARTS_RUNS):
        return False
    try:
        definition = get_operation_ast(parse(operation.query, max_tokens=settings.GRAPHQL_TOKENS), operation.name)
    except GraphQLError:
        return False
    selected = definition.selection_set.selections if definition is not None else ()
    return bool(selected) and all(isinstance(each, FieldNode) and each.name.value in STARTS_RUNS for each in selected)


async def count_failure(result: ExecutionResult, principal: Principal) -> None:
    """Count a failed operation as a read if it started no run, unless it was refused for lack of capacity."""
    errors = result.errors or ()
    if errors and not any(isinstance(error.original_error, WITHOUT_ROOM) for error in errors):
        await count_read(principal)


def unusable(error: Exception) -> BadRequest:
    """Return why a document contains no operation that can be executed here."""
    if isinstance(error, InvalidOperationTypeError):
        return BadRequest("Subscriptions need a websocket: graphql-transport-ws.", code="not_possible_here")
    return BadRequest("The document has no such operation; 'operationName' picks one of several.")


def payload_of(result: ExecutionResult) -> dict[str, Any]:
    """Return a result as it is sent to the client."""
    payload: dict[str, Any] = {}
    if not is_request_error(result.errors):
        payload["data"] = result.data
    if result.errors:
        payload["errors"] = [shown(error) for error in result.errors]
    return payload
