"""Renders our problems and GraphQL's own errors in GraphQL's shape. Unexpected errors are masked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from graphql import GraphQLError, GraphQLSyntaxError

from chatservice.dialects.problems import BadRequest, Problem, problem_of, with_request_id

MESSAGE_CHARS = 500
SUGGESTION = re.compile(r"\s*Did you mean [^?]*\?")
MASKED = Problem(500, "internal_error", "The service failed. It is not your fault.")
TOO_DEEP = Problem(400, "query_too_deep", "The document is nested too deeply.")


class AnswerFailed(Exception):
    """A run gave no complete answer. `place` holds the ids of what is stored of it."""

    def __init__(self, problem: Problem, place: Mapping[str, str]) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.place = place


def render(problem: Problem) -> dict[str, Any]:
    return {"errors": [{"message": problem.message, "extensions": extensions_of(problem)}]}


def extensions_of(problem: Problem) -> dict[str, Any]:
    extensions: dict[str, Any] = {"code": problem.code, "status": problem.status}
    if problem.param:
        extensions["param"] = problem.param
    if problem.details:
        extensions["details"] = problem.details
    if problem.retry_after is not None:
        extensions["retryAfter"] = problem.retry_after
    return with_request_id(extensions, "requestId")


def shown(error: Exception) -> dict[str, Any]:
    """Return an error as clients may see it."""
    if not isinstance(error, GraphQLError):
        rendered: dict[str, Any] = render(problem_of(error))["errors"][0]
        return rendered
    problem = _problem_of(error)
    formatted: dict[str, Any] = {"message": problem.message[:MESSAGE_CHARS]}
    if error.locations:
        formatted["locations"] = [location.formatted for location in error.locations]
    if error.path is not None:
        formatted["path"] = error.path
    formatted["extensions"] = extensions_of(problem)
    if isinstance(error.original_error, AnswerFailed):
        formatted["extensions"].update(error.original_error.place)
    return formatted


def is_request_error(errors: list[GraphQLError] | None) -> bool:
    """Tell whether nothing was executed: such an error belongs to the request, not to a field of the result."""
    return bool(errors) and all(error.path is None for error in errors or ())


def _problem_of(error: GraphQLError) -> Problem:
    original = error.original_error
    if isinstance(original, AnswerFailed):
        return original.problem
    if isinstance(original, RecursionError):
        return TOO_DEEP
    # If a value cannot be coerced during validation, the message is GraphQL's own.
    if original is not None and not (error.path is None and error.nodes and not isinstance(original, BadRequest)):
        return problem_of(original)
    message = SUGGESTION.sub("", error.message)
    if isinstance(error, GraphQLSyntaxError):
        if "tokens" in message and "more than" in message:
            return Problem(400, "too_many_tokens", f"{message} (GRAPHQL_TOKENS)")
        if "nested too deeply" in message:
            return TOO_DEEP
        return Problem(400, "graphql_parse_failed", message)
    if error.path is None or message.startswith("Argument "):
        return Problem(400, "graphql_validation_failed", message)
    # A result that its type cannot serialize: the error's message would contain the value.
    return MASKED
