"""Feedback on answers: what the caller thinks of them."""

from __future__ import annotations

import strawberry
from strawberry import ID
from strawberry.types import Info

from accounts.scopes import Scope
from chatservice.dialects.graphql import arguments
from chatservice.dialects.graphql.arguments import identifier
from chatservice.dialects.graphql.context import context_of, principal_of
from chatservice.dialects.graphql.scopes import needs
from chatservice.dialects.graphql.types import Feedback, FeedbackRating
from feedback import services
from feedback.models import MAX_COMMENT_CHARS
from foundation.database import in_database_thread


@strawberry.type
class FeedbackMutations:
    @strawberry.mutation(
        metadata=needs(Scope.WRITE),
        description="Say what you think of an answer that has ended; replaces what you said before.",
    )
    async def set_feedback(
        self, info: Info, message_id: ID, rating: FeedbackRating, comment: str = ""
    ) -> Feedback | None:
        word = arguments.text(comment, "comment", limit=MAX_COMMENT_CHARS, blank=True)
        principal, pk = principal_of(info), identifier(message_id)
        row = await in_database_thread(
            lambda: services.set_feedback(principal=principal, message_id=pk, rating=rating.value, comment=word)
        )
        context_of(info).forget()
        return Feedback.of(row)

    @strawberry.mutation(
        metadata=needs(Scope.WRITE), description="Take your feedback on an answer back. Returns the id of the answer."
    )
    async def delete_feedback(self, info: Info, message_id: ID) -> ID | None:
        principal, pk = principal_of(info), identifier(message_id)
        await in_database_thread(lambda: services.delete_feedback(principal=principal, message_id=pk))
        context_of(info).forget()
        return ID(str(pk))
