"""Builds OpenAI's objects from stored answers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from chatservice.dialects.openai_v1.stream import completion_id
from completions.assembly import whole_choice
from completions.models import Run
from completions.readers import whole_choices
from completions.types import Wire
from conversations.empty_answers import empty_reason


def stored_response(run_id: uuid.UUID) -> Wire:
    """Return the chat completion object of a finished run, as far as the database has it."""
    run = Run.objects.select_related("message").get(pk=run_id)
    message = run.message.as_wire() if run.message is not None else {}
    return {
        "id": completion_id(run.pk),
        "created": int(run.created_at.timestamp()),
        "model": run.model,
        **(run.envelope or {}),
        "object": "chat.completion",
        "choices": whole_choices(run) or [whole_choice(message, run.finish_reason)],
        **({"usage": run.usage} if run.usage else {}),
    }


def without_empty_text(response: Wire) -> Wire:
    """Return a chat completion object whose choices have null, as the document says, where the model gave no text."""
    choices = response.get("choices") or ()
    if not any(map(_is_empty, choices)):
        return response
    silent = [
        {**choice, "message": {**choice["message"], "content": None}} if _is_empty(choice) else choice
        for choice in choices
    ]
    return {**response, "choices": silent}


def _is_empty(choice: Any) -> bool:
    message = choice.get("message") if isinstance(choice, Mapping) else None
    return isinstance(message, Mapping) and empty_reason(message, choice.get("finish_reason")) is not None
