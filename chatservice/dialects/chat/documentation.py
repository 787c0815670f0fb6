"""The parts that the OpenAPI document of this dialect repeats: errors, parameters, examples from the API's document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from chatservice.dialects.chat.serializers import ChatError, StreamEvent

DESCRIPTIONS = {
    400: "The request is not valid",
    401: "No valid key, and guests are not admitted",
    403: "A prefetch, or a request from another site",
    404: "No such conversation",
    409: "The conversation is busy",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "A limit of this account or conversation is reached, or the Idempotency-Key belongs to another request",
    429: "Too many answers at once or per minute",
    500: "The service failed",
    502: "The model's server failed before its first token",
    503: "The service is restarting",
    504: "The model's server did not answer in time",
}
CONVERSATION_ID = OpenApiParameter("conversation_id", str, OpenApiParameter.PATH, description="the conversation's id")
MESSAGE = {
    "id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "conversationId": "01890a5d-ac96-774b-bcce-b302099a8056",
    "role": "user",
    "content": "Hello, how are you?",
    "createdAt": "2024-02-01T12:05:00.000Z",
}
MESSAGES = [
    MESSAGE,
    {
        **MESSAGE,
        "id": "01890a5d-ac96-774b-bcce-b302099a8058",
        "role": "assistant",
        "content": "I'm good! How can I assist you today?",
        "createdAt": "2024-02-01T12:06:00.000Z",
    },
]
RUN = "01890a5dac96774bbcceb302099a8057"
FRAMES = f"id: {RUN}.1.5\ndata: Hello\n\nid: {RUN}.2.15\ndata:  how can I\n\n"
EVENTS = {
    (200, "text/event-stream"): OpenApiResponse(
        StreamEvent,
        description=f"The answer as it is written:\n```\n{FRAMES}```",
        examples=[OpenApiExample("An event", {"id": f"{RUN}.1.5", "data": "Hello"}, media_type="text/event-stream")],
    )
}
ERROR = {"error": {"code": "not_found", "message": "Not found."}}


def errors(*statuses: int) -> dict[int, Any]:
    """Return the documented error responses with these statuses."""
    example = OpenApiExample("error", ERROR, response_only=True)
    return {
        status: OpenApiResponse(
            ChatError, description=DESCRIPTIONS[status], examples=[example] if status == 404 else None
        )
        for status in (*statuses, 429)
    }


def number_up_to(most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": most}
