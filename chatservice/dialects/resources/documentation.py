"""The parts that the OpenAPI document of this dialect repeats: errors, parameters, examples."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from chatservice.dialects.idempotency import KEY
from chatservice.dialects.resources.serializers import ResourceError, StreamEvent

DESCRIPTIONS = {
    400: "The request is not valid",
    401: "No valid key, and guests are not admitted",
    403: "Not allowed with these credentials",
    404: "It does not exist, or it belongs to somebody else",
    409: "Conflict: the conversation is busy, there is nothing to answer, or the username is taken",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "A limit is reached, or the Idempotency-Key belongs to another request",
    429: "Too many requests",
    502: "The model's server failed",
    503: "The service is restarting",
    504: "The model's server did not answer in time",
}
READ = (400, 401, 404, 429)
WRITE = (*READ, 403, 409, 413, 415, 422)
GENERATE = (*WRITE, 502, 503, 504)

PK = "01890a5d-ac96-774b-bcce-b302099a8056"
RUN = "01890a5dac96774bbcceb302099a8057"
NOT_FOUND = OpenApiExample("error", {"error": {"code": "not_found", "message": "Not found."}}, response_only=True)

CONVERSATION_ID = OpenApiParameter("conversation_id", str, OpenApiParameter.PATH, description="the conversation's id")
NUMBER = OpenApiParameter("number", str, OpenApiParameter.PATH, description="the message's number, from 1")
NAME = OpenApiParameter("name", str, OpenApiParameter.PATH, description="the account's username or id")
RUN_ID = OpenApiParameter("run_id", str, OpenApiParameter.PATH, description="as in X-Run-Id")
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    KEY,
    OpenApiParameter.HEADER,
    description="requests with the same key get the same answer, billed once",
)
EVENT = '{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":"Hello"}}]}'
LAST = '{"choices":[{"finish_reason":"stop","index":0,"delta":{"role":"assistant","content":""}}]}'
STREAM = f"id: {RUN}.1.5\ndata: {EVENT}\n\nid: {RUN}.1.5\ndata: {LAST}\n\ndata: [DONE]\n\n"
EVENTS = {
    (200, "text/event-stream"): OpenApiResponse(
        StreamEvent,
        description=f"The answer as it is written:\n```\n{STREAM}```",
        examples=[OpenApiExample("An event", {"id": f"{RUN}.1.5", "data": EVENT}, media_type="text/event-stream")],
    )
}
COMPLETION = {
    "choices": [
        {"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": "Hello! How can I help?"}}
    ]
}


def errors(statuses: tuple[int, ...]) -> dict[int, Any]:
    """Return the documented error responses with these statuses."""
    return {
        status: OpenApiResponse(
            ResourceError, description=DESCRIPTIONS[status], examples=[NOT_FOUND] if status == 404 else None
        )
        for status in sorted(set(statuses))
    }


def request_example(value: Any, name: str = "request") -> OpenApiExample:
    return OpenApiExample(name, value, request_only=True)


def answer_example(value: Any, status: int = 200, name: str = "answer") -> OpenApiExample:
    return OpenApiExample(name, value, response_only=True, status_codes=[str(status)], media_type="application/json")
