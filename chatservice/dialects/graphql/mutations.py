"""The mutations, except those of to-dos: conversations, messages, answers, runs. Every write is made by a service."""

from __future__ import annotations

import strawberry
from django.utils import timezone
from strawberry import ID, UNSET
from strawberry.types import Info

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.attached_files import parts_of
from chatservice.dialects.graphql import arguments
from chatservice.dialects.graphql.arguments import FileIds, identifier
from chatservice.dialects.graphql.context import context_of, principal_of
from chatservice.dialects.graphql.feedback import FeedbackMutations
from chatservice.dialects.graphql.generation import (
    Answer,
    ConversationGeneration,
    Generation,
    Recall,
    ask,
    begun,
    new_message,
    recalled,
    stored,
    whole,
)
from chatservice.dialects.graphql.scopes import needs
from chatservice.dialects.graphql.shared_links import SharedLinkMutations
from chatservice.dialects.graphql.todos import TodoMutations
from chatservice.dialects.graphql.types import Conversation, Message, Run
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.run_requests import stop
from completions import models as run_rows
from completions.continuing import find_resume_point
from completions.run_requests import WhenBusy
from completions.stopping import stop_and
from conversations import models as rows
from conversations import services
from conversations.default_generation import default_generation
from conversations.tags import MAX_TAGS, TAG_CHARS
from foundation.database import in_database_thread

STOP_SECONDS = 2.0


@strawberry.type
class Mutation(TodoMutations, FeedbackMutations, SharedLinkMutations):
    @strawberry.mutation(
        metadata=needs(Scope.WRITE), description="Create an empty conversation, with your `defaultGeneration`."
    )
    async def start_conversation(self, info: Info, title: str = "") -> Conversation | None:
        wanted = arguments.title(title, blank=True)
        owner_id = principal_of(info).user_id

        def start() -> rows.Conversation:
            generation = default_generation(owner_id)
            return services.start_conversation(owner_id=owner_id, title=wanted, generation=generation)

        return Conversation.of(await in_database_thread(start))

    @strawberry.mutation(
        metadata=needs(Scope.GENERATE),
        description="Send a message and wait for the complete answer. Without `conversationId` a new conversation "
        "is created. `wait: false` returns as soon as the question is stored; follow the answer by its "
        "run. `parentId` is the message to append to: by default the end of the shown branch, null for "
        "a new branch at the root. `conversationGeneration` is kept by a new conversation, from this answer on; "
        "without it, the conversation keeps your `defaultGeneration`, and with null nothing.",
    )
    async def send_message(
        self,
        info: Info,
        content: str,
        file_ids: FileIds = None,
        conversation_id: ID | None = None,
        parent_id: ID | None = UNSET,
        title: str | None = None,
        model: str | None = None,
        generation: Generation | None = None,
        idempotency_key: str | None = None,
        recall: Recall | None = None,
        conversation_generation: ConversationGeneration | None = UNSET,
        wait: bool = True,
        when_busy: WhenBusy = WhenBusy.REJECT,
    ) -> Answer | None:
        question = await new_message(
            principal_of(info),
            content=content,
            file_ids=file_ids,
            conversation_id=conversation_id,
            parent_id=parent_id,
            title=title,
            model=model,
            generation=generation,
            key=idempotency_key,
            recall=recall,
            conversation_generation=conversation_generation,
            when_busy=when_busy,
        )
        return await (whole if wait else begun)(info, question)

    @strawberry.mutation(
        metadata=needs(Scope.GENERATE),
        description="Regenerate an answer, or answer a message of the user's again. `wait: false` as in `sendMessage`.",
    )
    async def regenerate(
        self,
        info: Info,
        message_id: ID,
        model: str | None = None,
        generation: Generation | None = None,
        idempotency_key: str | None = None,
        recall: Recall | None = None,
        wait: bool = True,
        when_busy: WhenBusy = WhenBusy.REJECT,
    ) -> Answer | None:
        principal = principal_of(info)
        message = await in_database_thread(_message, principal, message_id)
        is_answer = message.role == rows.Message.Role.ASSISTANT
        asked_id = message.parent_id if is_answer else message.pk
        if asked_id is None:
            raise BadRequest("There is no message to answer.", code="nothing_to_answer", status=409)
        place = {"conversation_id": message.conversation_id, "parent_id": asked_id, "recall": recalled(recall)}
        question = ask(principal, model, generation, idempotency_key, when_busy=when_busy, **place)
        return await (whole if wait else begun)(info, question)

    @strawberry.mutation(
        metadata=needs(Scope.GENERATE),
        description="Continue an answer that was cut off: a new one beside it starts with its text and continues it. "
        "`wait: false` as in `sendMessage`.",
    )
    async def continue_answer(
        self,
        info: Info,
        message_id: ID,
        model: str | None = None,
        generation: Generation | None = None,
        idempotency_key: str | None = None,
        wait: bool = True,
        when_busy: WhenBusy = WhenBusy.REJECT,
    ) -> Answer | None:
        principal = principal_of(info)
        resume_point = await in_database_thread(find_resume_point, principal, identifier(message_id))
        place = resume_point.request_fields()
        question = ask(
            principal, model or resume_point.model, generation, idempotency_key, when_busy=when_busy, **place
        )
        return await (whole if wait else begun)(info, question)

    @strawberry.mutation(
        metadata=needs(Scope.WRITE),
        description="Edit a message: creates another version, which is shown from now on. It keeps the files of the "
        "message unless `fileIds` names others, or none.",
    )
    async def edit_message(self, info: Info, id: ID, content: str, file_ids: FileIds = None) -> Message | None:
        wanted = arguments.content(content, file_ids)
        row = await in_database_thread(_edit, principal_of(info), id, wanted, file_ids)
        context_of(info).forget()
        return Message.of(row)

    @strawberry.mutation(
        metadata=needs(Scope.WRITE), description="Show the branch that a message is on, down to its newest message."
    )
    async def show_branch(self, info: Info, message_id: ID) -> Conversation | None:
        row = await in_database_thread(_show, principal_of(info), message_id)
        context_of(info).forget()
        return Conversation.of(row)

    @strawberry.mutation(metadata=needs(Scope.GENERATE), description="Stop an answer; its text so far is kept.")
    async def stop_run(self, info: Info, run_id: ID) -> Run | None:
        mine = run_rows.Run.objects.visible_to(principal_of(info))
        pk = identifier(run_id)
        await in_database_thread(lambda: mine.get(pk=pk))
        await stop(pk, seconds=STOP_SECONDS)
        context_of(info).forget()
        return Run.of(await in_database_thread(lambda: mine.get(pk=pk)))

    @strawberry.mutation(metadata=needs(Scope.WRITE))
    async def rename_conversation(self, info: Info, id: ID, title: str) -> Conversation | None:
        wanted = arguments.title(title, blank=True)
        return await _change(info, id, title=wanted)

    @strawberry.mutation(metadata=needs(Scope.WRITE))
    async def archive_conversation(self, info: Info, id: ID, archived: bool = True) -> Conversation | None:
        return await _change(info, id, archived_at=timezone.now() if archived else None)

    @strawberry.mutation(metadata=needs(Scope.WRITE))
    async def pin_conversation(self, info: Info, id: ID, pinned: bool = True) -> Conversation | None:
        return await _change(info, id, pinned_at=timezone.now() if pinned else None)

    @strawberry.mutation(
        metadata=needs(Scope.WRITE),
        description=f"Replace the tags of a conversation: at most {MAX_TAGS}, each of at most {TAG_CHARS} characters. "
        "Those that differ only in case are the same.",
    )
    async def set_tags(self, info: Info, id: ID, tags: list[str]) -> Conversation | None:
        return await _change(info, id, tags=arguments.tags(tags))

    @strawberry.mutation(
        metadata=needs(Scope.WRITE),
        description="Say how the answers of a conversation are made from now on; null removes what it keeps of that.",
    )
    async def set_generation(
        self, info: Info, id: ID, generation: ConversationGeneration | None = None
    ) -> Conversation | None:
        return await _change(info, id, generation=stored(generation, "generation"))

    @strawberry.mutation(
        metadata=needs(Scope.WRITE), description="Delete a conversation and everything in it. Returns its id."
    )
    async def delete_conversation(self, info: Info, id: ID) -> ID | None:
        row = await in_database_thread(_conversation, principal_of(info), id)
        of_it = run_rows.Run.objects.filter(conversation=row)
        await stop_and(of_it, lambda: services.delete_conversation(conversation=row))
        context_of(info).forget()
        return ID(str(row.pk))

    @strawberry.mutation(
        metadata=needs(Scope.WRITE), description="Delete one message; the messages after it are kept. Returns its id."
    )
    async def delete_message(self, info: Info, id: ID) -> ID | None:
        pk = await in_database_thread(_delete_message, principal_of(info), id)
        context_of(info).forget()
        return pk


def _conversation(principal: Principal, value: ID) -> rows.Conversation:
    return rows.Conversation.objects.visible_to(principal).get(pk=identifier(value))


def _message(principal: Principal, value: ID) -> rows.Message:
    return rows.Message.objects.visible_to(principal).get(pk=identifier(value))


async def _change(info: Info, value: ID, **changes: object) -> Conversation:
    def change() -> rows.Conversation:
        row = _conversation(principal_of(info), value)
        return services.update_conversation(conversation=row, **changes)

    row = await in_database_thread(change)
    context_of(info).forget()
    return Conversation.of(row)


def _edit(principal: Principal, value: ID, content: str, file_ids: list[ID] | None) -> rows.Message:
    message = _message(principal, value)
    if message.status == rows.Message.Status.IN_PROGRESS:
        raise services.Busy("This message is still being written; stop it first.")
    attached = parts_of(principal, file_ids, role=message.role, param="fileIds") if file_ids is not None else None
    return services.edit_message(message=message, content=content, attached=attached)


def _show(principal: Principal, value: ID) -> rows.Conversation:
    message = _message(principal, value)
    links = rows.Message.objects.of(message.conversation_id).order_by("position").values_list("parent_id", "id")
    newest = {parent: child for parent, child in links if parent is not None}  # the last child of each
    leaf_id = message.pk
    for _ in range(len(newest)):
        if leaf_id not in newest:
            break
        leaf_id = newest[leaf_id]
    conversation = rows.Conversation.objects.get(pk=message.conversation_id)
    services.show_branch(conversation=conversation, leaf=rows.Message.objects.get(pk=leaf_id))
    conversation.refresh_from_db()
    return conversation


def _delete_message(principal: Principal, value: ID) -> ID:
    message = _message(principal, value)
    pk = ID(str(message.pk))
    services.delete_message(message=message)
    return pk
