"""Builds OpenAI's objects from stored answers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings

from chatservice.dialects.openai_v1.ids import completion_id
from completions.assembly import whole_choice
from completions.models import Run
from completions.readers import whole_choices
from completions.stored_answers import further_choices
from completions.types import Wire
from conversations.empty_answers import empty_reason
from conversations.file_parts import reference_in
from conversations.models import Message


def keeps(store: Any) -> bool:
    """Tell whether a request with this `store` becomes history: unless it is false, or always if HISTORY says so."""
    return store is not False or settings.HISTORY == "always"


def stored_response(run_id: uuid.UUID) -> Wire:
    """Return the chat completion object of a finished run, as far as the database has it."""
    return response_of(Run.objects.select_related("message").get(pk=run_id))


def response_of(run: Run) -> Wire:
    """Return the chat completion object of a finished run that was read with its message."""
    message = run.message.as_wire() if run.message is not None else {}
    choices = whole_choices(run) or [
        whole_choice(message, run.finish_reason),
        *(
            {**whole_choice(further.as_wire(), further.finish_reason), "index": index}
            for index, further in enumerate(further_choices(run), start=1)
        ),
    ]
    return {
        "created": int(run.created_at.timestamp()),
        "model": run.model,
        **(run.envelope or {}),
        "id": completion_id(run.pk),
        "object": "chat.completion",
        "choices": choices,
        **({"usage": run.usage} if run.usage else {}),
    }


def stored_completion(run: Run) -> dict[str, Any]:
    """Return a run with its message as a stored chat completion: with its metadata, and why it has no text."""
    reason = run.message.empty_reason if run.message is not None else None
    return {
        **as_documented(response_of(run)),
        "metadata": run.parameters.get("metadata") or {},
        **({"empty_reason": reason} if reason else {}),
    }


def stored_message(message: Message, address_of: Callable[[str], str]) -> dict[str, Any]:
    """Return a message as the list of a stored completion's messages has it: with an id, and its text apart.

    A picture that is a file has the address of its content, since OpenAI's document requires a URL.
    """
    wire = dict(message.as_wire())
    parts, shown = wire.get("content"), {}
    if isinstance(parts, list):
        shown = {"content": message.content or None, "content_parts": [_with_url(part, address_of) for part in parts]}
    return {"id": f"msg_{message.pk.hex}", "name": None, "refusal": None, "content_parts": None, **wire, **shown}


def _with_url(part: Any, address_of: Callable[[str], str]) -> Any:
    reference = reference_in(part)
    if reference is None or part["type"] != "image_url" or "url" in part["image_url"]:
        return part
    return {**part, "image_url": {**part["image_url"], "url": address_of(str(reference.file_id))}}


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
