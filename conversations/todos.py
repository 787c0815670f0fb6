"""Every write to to-dos: keyword-only, in a transaction. Callers look them up by `Todo.objects.visible_to`."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.models import User
from conversations.models import Conversation, Todo
from conversations.services import LimitReached


@transaction.atomic
def create_todo(*, owner_id: uuid.UUID, title: str, conversation: Conversation | None = None) -> Todo:
    """Create a to-do; raises LimitReached."""
    limit = settings.LIMIT_TODOS_PER_USER
    if limit:
        # Locked, because two concurrent requests that count the same rows would both be within the limit.
        owner = User.objects.get(pk=owner_id)
        User.objects.select_for_update(no_key=True).get(pk=owner.limits_owner_id or owner_id)
        if Todo.objects.filter(owner__in=User.objects.sharing_limits(owner_id)).count() >= limit:
            raise LimitReached(f"An account holds at most {limit} to-dos (LIMIT_TODOS_PER_USER).")
    return Todo.objects.create(owner_id=owner_id, title=title, conversation=conversation)


@transaction.atomic
def update_todo(*, todo: Todo, **changes: Any) -> Todo:
    """Change title, completed or conversation; raises Todo.DoesNotExist if it was deleted meanwhile."""
    if unknown := changes.keys() - {"title", "completed", "conversation"}:
        raise TypeError(f"update_todo() does not change {min(unknown)}")
    fresh = Todo.objects.select_for_update().get(pk=todo.pk)
    for name, value in changes.items():
        setattr(fresh, name, value)
    if changes:
        fresh.save(update_fields=list(changes))
    return fresh


@transaction.atomic
def delete_todo(*, todo: Todo) -> None:
    Todo.objects.filter(pk=todo.pk).delete()
