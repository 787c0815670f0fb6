"""Stored answers as OpenAI's objects."""

from __future__ import annotations

import uuid
from typing import Any

from chatservice.dialects.openai_v1.stream import completion_id
from completions.models import Run
from completions.types import Wire


def stored_response(run_id: uuid.UUID) -> Wire:
    """Return the chat completion object of a finished run, from what the database holds of it."""
    run = Run.objects.select_related("message").get(pk=run_id)
    message: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
    if run.message is not None:
        message |= run.message.as_wire()
    return {
        "id": completion_id(run.pk),
        "created": int(run.created_at.timestamp()),
        "model": run.model,
        **(run.envelope or {}),
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": run.finish_reason or "stop", "logprobs": None}],
        **({"usage": run.usage} if run.usage else {}),
    }
