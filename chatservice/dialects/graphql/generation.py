"""Generation of answers: input types, the run requests made from them, and the type of the answer."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import strawberry
from strawberry import ID, UNSET
from strawberry.types import Info

from accounts.callers import Principal
from accounts.guests import as_id
from chatservice.dialects.attached_files import user_message
from chatservice.dialects.graphql import arguments
from chatservice.dialects.graphql.context import context_of
from chatservice.dialects.graphql.errors import AnswerFailed
from chatservice.dialects.graphql.scopes import needs
from chatservice.dialects.graphql.types import Conversation, Message, conversation_with, message_with
from chatservice.dialects.idempotency import idempotency_key
from chatservice.dialects.leaving import Leaving, read_leaving
from chatservice.dialects.run_errors import problem_of_end
from chatservice.dialects.run_requests import make_run_request, resolve_model, submit, with_default_generation
from completions import conversation_generation as generation_values
from completions import recall as recall_values
from completions.exceptions import UnknownConversation
from completions.readers import wait_for_end
from completions.run_requests import HEAD, RunHandle, RunRequest, WhenBusy
from completions.types import FINISHED_WELL, RunFinished
from conversations.generation import read_generation

STOPS = 16


@strawberry.input(description="Generation parameters; the model's defaults apply to those that are omitted.")
class Generation:
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters under their names in OpenAI's API; raises BadRequest."""
        if self.stop is not None and len(self.stop) > STOPS:
            raise arguments.invalid("stop", f"At most {STOPS} strings.")
        for each in self.stop or ():
            arguments.text(each, "stop", limit=1_000, blank=True)
        given = {name: getattr(self, name) for name in ("temperature", "top_p", "max_tokens", "seed", "stop")}
        return {name: value for name, value in given.items() if value is not None}


@strawberry.input(
    description="How the answers of a conversation are made, unless a question has its own `Generation`: instructions, "
    "which are sent to the model before the messages, and parameters."
)
class ConversationGeneration:
    instructions: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str | None = None


def stored(given: ConversationGeneration | None, name: str) -> dict[str, Any] | None:
    """Return what a conversation keeps of the argument `name`; raises BadRequest."""
    try:
        return read_generation(dataclasses.asdict(given) if given is not None else None)
    except ValueError as error:
        raise arguments.invalid(name, str(error)) from error


@strawberry.input(
    description="Passages of your other conversations to quote to the model: 5 by default, at most 20; 0 turns it "
    "off, whatever the conversation says. `mode` is hybrid, semantic or text."
)
class Recall:
    limit: int | None = None
    mode: str | None = None


def recalled(given: Recall | None) -> recall_values.Recall | None:
    """Return the recall that the input asks for; raises BadRequest."""
    if given is None:
        return None
    try:
        return recall_values.read_recall({"limit": given.limit, "mode": given.mode})
    except ValueError as error:
        raise arguments.invalid("recall", str(error)) from error


strawberry.enum(
    WhenBusy,
    description="What to do while an answer is being written in the conversation: refuse the question with "
    "conversation_busy, stop that answer and keep its text, or wait for it. A question that waits is stored at once.",
)


@strawberry.type(description="A model's answer to a question, which is stored.")
class Answer:
    run_id: ID
    handle: strawberry.Private[RunHandle]

    @strawberry.field(metadata=needs(None))
    async def conversation(self, info: Info) -> Conversation | None:
        return await conversation_with(info, self.handle.conversation_id)

    @strawberry.field(metadata=needs(None), description="The answer itself.")
    async def message(self, info: Info) -> Message | None:
        return await message_with(info, self.handle.message_id)

    @strawberry.field(metadata=needs(None), description="The message it answers.")
    async def question(self, info: Info) -> Message | None:
        answer = await message_with(info, self.handle.message_id)
        return await message_with(info, answer.row.parent_id) if answer is not None else None


async def new_message(
    principal: Principal,
    *,
    content: str,
    file_ids: list[ID] | None,
    conversation_id: ID | None,
    parent_id: ID | None,
    title: str | None,
    model: str | None,
    generation: Generation | None,
    key: str | None,
    recall: Recall | None = None,
    conversation_generation: ConversationGeneration | None = UNSET,
    when_busy: WhenBusy = WhenBusy.REJECT,
) -> RunRequest:
    """Return the run request for a new message; raises BadRequest and UnknownConversation."""
    if conversation_id is None and parent_id not in (None, UNSET):
        raise arguments.invalid("parentId", "This requires a conversationId.")
    if conversation_id is not None and title is not None:
        raise arguments.invalid("title", "This is only for a new conversation.")
    begins_with_default = conversation_id is None and conversation_generation is UNSET
    if conversation_generation is UNSET:
        conversation_generation = None
    if conversation_id is not None and conversation_generation is not None:
        raise arguments.invalid("conversationGeneration", "This is only for a new conversation.")
    parent: uuid.UUID | None = HEAD
    if conversation_id is not None and parent_id is not UNSET:
        parent = _known(parent_id, "Message not found.") if parent_id is not None else None
    question = ask(
        principal,
        model,
        generation,
        key,
        conversation_id=_known(conversation_id) if conversation_id is not None else None,
        parent_id=parent,
        title=arguments.title(title, blank=True) if title is not None else "",
        messages=(await user_message(principal, arguments.content(content, file_ids), file_ids, param="fileIds"),),
        recall=recalled(recall),
        when_busy=when_busy,
        generation=generation_values.conversation_generation(stored(conversation_generation, "conversationGeneration")),
    )
    return await with_default_generation(question) if begins_with_default else question


def ask(
    principal: Principal,
    model: str | None,
    generation: Generation | None,
    key: str | None,
    /,
    *,
    when_busy: WhenBusy = WhenBusy.REJECT,
    **place: Any,
) -> RunRequest:
    """Return a run request; the same `key` and arguments make the same request."""
    if model is not None:
        arguments.text(model, "model", limit=arguments.MODEL_CHARS)
    model = resolve_model(model)
    parameters = generation.parameters() if generation is not None else {}
    return make_run_request(
        principal,
        model=model,
        key=idempotency_key(key),
        identity=("graphql", model, parameters, place),
        parameters=parameters,
        when_busy=when_busy,
        **place,
    )


async def whole(info: Info, question: RunRequest) -> Answer:
    """Generate the answer and wait for it; raises AnswerFailed, which says where a partial answer is stored."""
    request = context_of(info).request
    keyed = bool(question.idempotency_key)
    leaving = read_leaving(request, "graphql", keyed=keyed) if request is not None else Leaving()
    handle = await submit(question)
    finished = await leaving.wait(handle.run_id, lambda: wait_for_end(handle.run_id))
    context_of(info).forget()
    if finished.status not in FINISHED_WELL:
        raise AnswerFailed(problem_of_end(finished), place_of(handle))
    if handle.message_id is not None and await context_of(info).loaders.message.load(handle.message_id) is None:
        deleted = RunFinished("cancelled", error_code="deleted", error_message="The conversation was deleted.")
        raise AnswerFailed(problem_of_end(deleted), {})
    return Answer(run_id=ID(str(handle.run_id)), handle=handle)


async def begun(info: Info, question: RunRequest) -> Answer:
    """Start generating, and wait only until the question is stored."""
    handle = await submit(question)
    context_of(info).forget()
    return Answer(run_id=ID(str(handle.run_id)), handle=handle)


def place_of(handle: RunHandle) -> dict[str, str]:
    place = {
        "runId": handle.run_id,
        "conversationId": handle.conversation_id,
        "messageId": handle.message_id,
    }
    return {name: str(value) for name, value in place.items() if value is not None}


def _known(value: ID, message: str = "") -> uuid.UUID:
    pk = as_id(value)
    if pk is None:
        raise UnknownConversation(message)
    return pk
