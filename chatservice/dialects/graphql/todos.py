"""To-dos: `createTodo` as in the Chatbot API's document, and the other operations on them."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry import ID, UNSET
from strawberry.types import Info

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.graphql import arguments
from chatservice.dialects.graphql.arguments import identifier
from chatservice.dialects.graphql.context import context_of, principal_of
from chatservice.dialects.graphql.scopes import needs
from chatservice.dialects.graphql.types import Todo
from conversations import models as rows
from conversations import todos
from foundation.database import in_database_thread


@strawberry.type
class TodoMutations:
    @strawberry.mutation(metadata=needs(Scope.WRITE), description="Create a to-do, optionally about a conversation.")
    async def create_todo(self, info: Info, title: str, conversation_id: ID | None = None) -> Todo | None:
        wanted = arguments.title(title)
        return await _written(info, _create, wanted, conversation_id)

    @strawberry.mutation(
        metadata=needs(Scope.WRITE),
        description="Update a to-do; `conversationId: null` detaches it from its conversation.",
    )
    async def update_todo(
        self,
        info: Info,
        id: ID,
        title: str | None = UNSET,
        completed: bool | None = UNSET,
        conversation_id: ID | None = UNSET,
    ) -> Todo | None:
        changes: dict[str, Any] = {}
        if title is not UNSET:
            if title is None:
                raise arguments.invalid("title", "This must not be null.")
            changes["title"] = arguments.title(title)
        if completed is not UNSET:
            if completed is None:
                raise arguments.invalid("completed", "This must not be null.")
            changes["completed"] = completed
        return await _written(info, _update, id, changes, conversation_id)

    @strawberry.mutation(metadata=needs(Scope.WRITE))
    async def complete_todo(self, info: Info, id: ID, completed: bool = True) -> Todo | None:
        return await _written(info, _update, id, {"completed": completed}, UNSET)

    @strawberry.mutation(metadata=needs(Scope.WRITE), description="Returns its id.")
    async def delete_todo(self, info: Info, id: ID) -> ID | None:
        pk = await in_database_thread(_delete, principal_of(info), id)
        context_of(info).forget()
        return pk


async def _written(info: Info, write: Any, *values: Any) -> Todo:
    row = await in_database_thread(write, principal_of(info), *values)
    context_of(info).forget()
    return Todo.of(row)


def _create(principal: Principal, title: str, conversation_id: ID | None) -> rows.Todo:
    return todos.create_todo(
        owner_id=principal.user_id, title=title, conversation=_conversation(principal, conversation_id)
    )


def _update(principal: Principal, pk: ID, changes: dict[str, Any], conversation_id: ID | None) -> rows.Todo:
    todo = rows.Todo.objects.visible_to(principal).get(pk=identifier(pk))
    if conversation_id is not UNSET:
        changes = {**changes, "conversation": _conversation(principal, conversation_id)}
    return todos.update_todo(todo=todo, **changes)


def _delete(principal: Principal, pk: ID) -> ID:
    todo = rows.Todo.objects.visible_to(principal).get(pk=identifier(pk))
    todos.delete_todo(todo=todo)
    return ID(str(identifier(pk)))


def _conversation(principal: Principal, value: ID | None) -> rows.Conversation | None:
    if value is None:
        return None
    return rows.Conversation.objects.visible_to(principal).get(pk=identifier(value))
