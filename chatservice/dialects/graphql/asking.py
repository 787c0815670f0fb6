"""From arguments to a question, and from a run to the whole answer."""

from __future__ import annotations

import uuid
from typing import Any

import strawberry
from django.conf import settings
from strawberry import ID, UNSET
from strawberry.types import Info

from accounts.guests import as_id
from accounts.principal import Principal
from chatservice.dialects.endings import problem_of_end
from chatservice.dialects.graphql import arguments
from chatservice.dialects.graphql.context import context_of
from chatservice.dialects.graphql.errors import AnswerFailed
from chatservice.dialects.graphql.types import Conversation, Message, conversation_with, message_with
from chatservice.dialects.idempotency import fingerprint, idempotency_key
from completions import recall as recall_values
from completions import services
from completions.asks import HEAD, Accepted, Ask
from completions.exceptions import UnknownConversation
from completions.readers import wait_for_end
from completions.types import Ended

ENDED_WELL = ("complete", "cancelled")
STOPS = 16


@strawberry.input(description="How the model answers; what is not said is the model's own default.")
class Generation:
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None

    def parameters(self) -> dict[str, Any]:
        """Return them in the words of OpenAI's wire; raises BadRequest."""
        if self.stop is not None and len(self.stop) > STOPS:
            raise arguments.invalid("stop", f"At most {STOPS} texts.")
        for each in self.stop or ():
            arguments.text(each, "stop", limit=1_000, blank=True)
        given = {name: getattr(self, name) for name in ("temperature", "top_p", "max_tokens", "seed", "stop")}
        return {name: value for name, value in given.items() if value is not None}


@strawberry.input(
    description="What the model is reminded of: passages of your other conversations, 5 unless said, at most 20; "
    "0 is none, whatever the conversation says. `mode` is hybrid, semantic or text."
)
class Recall:
    limit: int | None = None
    mode: str | None = None


def recalled(given: Recall | None) -> recall_values.Recall | None:
    """Return what is to be recalled; raises BadRequest."""
    if given is None:
        return None
    try:
        return recall_values.read_recall({"limit": given.limit, "mode": given.mode})
    except ValueError as error:
        raise arguments.invalid("recall", str(error)) from error


@strawberry.type(description="What a model says to a question; the question is stored.")
class Answer:
    run_id: ID
    place: strawberry.Private[Accepted]

    @strawberry.field
    async def conversation(self, info: Info) -> Conversation | None:
        return await conversation_with(info, self.place.conversation_id)

    @strawberry.field(description="The answer itself.")
    async def message(self, info: Info) -> Message | None:
        return await message_with(info, self.place.message_id)

    @strawberry.field(description="What it answers.")
    async def question(self, info: Info) -> Message | None:
        answer = await message_with(info, self.place.message_id)
        return await message_with(info, answer.row.parent_id) if answer is not None else None


def new_message(
    principal: Principal,
    *,
    content: str,
    conversation_id: ID | None,
    parent_id: ID | None,
    title: str | None,
    model: str | None,
    generation: Generation | None,
    key: str | None,
    recall: Recall | None = None,
) -> Ask:
    """Return the question that a new message asks; raises BadRequest, UnknownConversation."""
    if conversation_id is None and parent_id not in (None, UNSET):
        raise arguments.invalid("parentId", "This needs a conversationId.")
    if conversation_id is not None and title is not None:
        raise arguments.invalid("title", "This is for a new conversation.")
    parent: uuid.UUID | None = HEAD
    if conversation_id is not None and parent_id is not UNSET:
        parent = _known(parent_id, "Message not found.") if parent_id is not None else None
    return ask(
        principal,
        model,
        generation,
        key,
        conversation_id=_known(conversation_id) if conversation_id is not None else None,
        parent_id=parent,
        title=arguments.title(title, blank=True) if title is not None else "",
        messages=({"role": "user", "content": arguments.content(content)},),
        recall=recalled(recall),
    )


def ask(principal: Principal, model: str | None, generation: Generation | None, key: str | None, **place: Any) -> Ask:
    """Return a question; the same `key` and arguments are the same request."""
    if model is not None:
        arguments.text(model, "model", limit=arguments.MODEL_CHARS)
    model = settings.DEFAULT_MODEL if model in (None, "default") else model
    parameters = generation.parameters() if generation is not None else {}
    key = idempotency_key(key)
    return Ask(
        principal=principal,
        model=model,
        upstream=services.upstream_for(model),
        parameters=parameters,
        idempotency_key=key,
        fingerprint=fingerprint("graphql", model, parameters, place) if key else "",
        **place,
    )


async def whole(info: Info, question: Ask) -> Answer:
    """Ask and wait; raises AnswerFailed, which says where what was written so far is kept."""
    accepted = await services.ask(question)
    ended = await wait_for_end(accepted.run_id)
    context_of(info).forget()
    if ended.status not in ENDED_WELL:
        raise AnswerFailed(problem_of_end(ended), place_of(accepted))
    if accepted.message_id is not None and await context_of(info).loaders.message.load(accepted.message_id) is None:
        deleted = Ended("cancelled", error_code="deleted", error_message="The conversation was deleted.")
        raise AnswerFailed(problem_of_end(deleted), {})
    return Answer(run_id=ID(str(accepted.run_id)), place=accepted)


async def begun(info: Info, question: Ask) -> Answer:
    """Ask, and wait only until the question is stored."""
    accepted = await services.ask(question)
    context_of(info).forget()
    return Answer(run_id=ID(str(accepted.run_id)), place=accepted)


def place_of(accepted: Accepted) -> dict[str, str]:
    place = {
        "runId": accepted.run_id,
        "conversationId": accepted.conversation_id,
        "messageId": accepted.message_id,
    }
    return {name: str(value) for name, value in place.items() if value is not None}


def _known(value: ID, message: str = "") -> uuid.UUID:
    pk = as_id(value)
    if pk is None:
        raise UnknownConversation(message)
    return pk
