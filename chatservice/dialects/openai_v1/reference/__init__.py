"""OpenAI's own OpenAPI document, and how operations take their schemas from it.

An operation that OpenAI has, too, is documented by `extend_schema(**operation("GET /models", ...))`: request,
parameters and answers are OpenAI's, errors are ours. What is added to OpenAI's schemas is in additions.py; what differs
on purpose is in changes.toml, with the reason, which `manage.py openai_coverage` prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from chatservice.dialects.openai_v1.reference.source import document

STREAM = "text/event-stream"
STREAM_HELP = "a stream: each `data:` is one of these or an error; the last one is `[DONE]`"


def operation(
    call: str,
    *,
    errors: Mapping[int, OpenApiResponse],
    parameters: Iterable[OpenApiParameter] = (),
    answers: Mapping[Any, OpenApiResponse] | None = None,
) -> dict[str, Any]:
    """Return what `extend_schema` needs to document `call` ("GET /models") with OpenAI's schemas.

    `parameters` are ours, such as headers. Of OpenAI's responses only the successful ones are taken. `answers` are
    what OpenAI sends, too, without documenting it.
    """
    method, _, path = call.partition(" ")
    theirs = document()["paths"][path][method.lower()]
    arguments: dict[str, Any] = {
        "operation_id": theirs["operationId"],
        "tags": theirs.get("tags", ["Responses"]),  # two of the Responses operations have none
        "request": None,
        "parameters": [*map(_parameter, theirs.get("parameters", ())), *parameters],
        "responses": {**_answers(theirs), **(answers or {}), **errors},
    }
    if "requestBody" in theirs:
        arguments["request"] = {
            media_type: content["schema"] for media_type, content in theirs["requestBody"]["content"].items()
        }
    return arguments


def schema(name: str) -> dict[str, str]:
    """Return a reference to one of OpenAI's schemas, for an operation that OpenAI does not have."""
    if name not in document()["components"]["schemas"]:
        raise KeyError(name)
    return {"$ref": f"#/components/schemas/{name}"}


def _parameter(theirs: Mapping[str, Any]) -> OpenApiParameter:
    is_object = theirs["schema"] == schema("Metadata")
    return OpenApiParameter(
        theirs["name"],
        theirs["schema"],
        theirs["in"],
        required=theirs.get("required", False),
        style="deepObject" if is_object else None,
        explode=True if is_object else None,
    )


def _answers(theirs: Mapping[str, Any]) -> dict[tuple[int, str], OpenApiResponse]:
    return {
        (int(status), media_type): OpenApiResponse(
            content["schema"], description=STREAM_HELP if media_type == STREAM else ""
        )
        for status, response in theirs["responses"].items()
        if status.startswith("2")
        for media_type, content in response.get("content", {}).items()
    }
