"""Makes run requests of Responses requests: where the input goes on, what it refers to, who can answer it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from django.http import Http404

from accounts.callers import Principal
from chatservice.dialects.file_references import check_files, new_references_in
from chatservice.dialects.openai_v1.ids import CONVERSATION, key_of
from chatservice.dialects.openai_v1.responses.reading import find_run
from chatservice.dialects.openai_v1.responses.request_parsing import Asked
from chatservice.dialects.openai_v1.responses.tools import hosted
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.run_requests import make_run_request
from completions import providers
from completions.conversation_generation import NOTHING
from completions.recall import read_recall
from completions.run_requests import HEAD, RunRequest
from completions.types import Wire
from conversations.models import Conversation
from foundation.database import in_database_thread


@dataclass(frozen=True, slots=True)
class Continued:
    """What a question continues, and the stored items that its input refers to."""

    conversation_id: uuid.UUID | None = None
    parent_id: uuid.UUID | None = HEAD
    found: dict[str, Wire] = field(default_factory=dict)


async def run_request(
    asked: Asked, principal: Principal, *, key: str = "", before: tuple[Wire, ...] | None = None
) -> RunRequest:
    """Return the run request; raises BadRequest for what does not exist, and for what nobody here can do.

    `before` are the messages that the previous response ended with, where it is not stored.
    """
    continued = Continued()
    if (asked.previous is not None and before is None) or asked.conversation is not None or asked.references:
        continued = await in_database_thread(_find, asked, principal, before is None)
    recall = _recall(asked.body.get("recall"))
    await check_files(principal, new_references_in(asked.items, "input"))
    messages = asked.messages(continued.found)
    echo = {"store": asked.stores, "in_conversation": asked.conversation is not None, "inputs": len(messages)}
    request = make_run_request(
        principal,
        model=asked.model,
        key=key,
        identity=("openai_v1", "responses", dict(asked.body)),
        messages=(*(before or ()), *messages),
        parameters=asked.parameters,
        threaded=continued.conversation_id is None,
        # A response may be continued several times at once. In a conversation one answer follows the other.
        exclusive=asked.conversation is not None,
        store=asked.stores,
        conversation_id=continued.conversation_id,
        parent_id=continued.parent_id,
        end_user=str(asked.body.get("safety_identifier") or asked.body.get("user") or "")[:200],
        recall=recall,
        instructions=asked.body.get("instructions") or "",
        is_cut_to_fit=asked.body.get("truncation") == "auto",
        echo={**asked.echo, **echo},
        native=asked.native,
        generation=NOTHING,  # a response says everything itself
    )
    return _within_upstream(request, asked)


def _within_upstream(request: RunRequest, asked: Asked) -> RunRequest:
    """Return the request as its upstream can answer it; raises BadRequest if it needs the Responses API.

    The response shows the tools that the model had: those that were merely offered are left out.
    """
    needed, offered = asked.only_for_responses(), hosted(asked.body)[1]
    if not (needed or offered) or providers.provider_for(request.model)[0].speaks_responses:
        return request
    if needed:
        what = ", ".join(each[:60] for each in needed)
        message = f"Tools of type {what} need an upstream with the Responses API; that of this model has none."
        raise BadRequest(message, code="unsupported_tool", param="tools")
    tools = [tool for tool in asked.body["tools"] if tool["type"] not in offered]
    return replace(request, echo={**(request.echo or {}), "tools": tools})


def _find(asked: Asked, principal: Principal, with_previous: bool) -> Continued:
    found = asked.references.find(principal) if asked.references else {}
    if asked.previous is not None and with_previous:
        try:
            run = find_run(principal, asked.previous)
        except Http404:
            code = "previous_response_not_found"
            raise BadRequest("Previous response not found.", code=code, param="previous_response_id") from None
        if not run.is_over:
            message = "The previous response is not finished yet."
            raise BadRequest(message, code="conversation_busy", status=409, param="previous_response_id")
        return Continued(run.conversation_id, run.message_id, found)
    if asked.conversation is not None:
        conversation_id, head_id = _conversation(principal, asked.conversation)
        # What is stored goes after the last message as it is when the question is accepted.
        return Continued(conversation_id, HEAD if asked.stores else head_id, found)
    return Continued(found=found)


def _conversation(principal: Principal, named: str) -> tuple[uuid.UUID, uuid.UUID | None]:
    pk = key_of(named, CONVERSATION)
    rows = Conversation.objects.visible_to(principal).values_list("pk", "head_id")
    row = rows.filter(pk=pk).first() if pk else None
    if row is None:
        raise BadRequest("Conversation not found.", code="not_found", status=404, param="conversation")
    return row


def _recall(given: Any) -> Any:
    try:
        return read_recall(given)
    except ValueError as error:
        raise BadRequest(f"'recall': {error}", code="invalid_value", param="recall") from error
