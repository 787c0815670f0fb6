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


def as_documented(response: Wire) -> Wire:
    """Return a chat completion object with what the document requires of it, even if the model's server left it out.

    A choice without text has null as its content; `refusal` and `logprobs` are there.
    """
    choices = response.get("choices") or ()
    return {**response, "choices": [_choice(choice) if isinstance(choice, Mapping) else choice for choice in choices]}


def _choice(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return choice
    is_empty = empty_reason(message, choice.get("finish_reason")) is not None
    whole = {"refusal": None, **message, **({"content": None} if is_empty else {})}
    return {"logprobs": None, **choice, "message": whole}
