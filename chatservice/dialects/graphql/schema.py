"""The schema and its execution: limited, without suggestions of names, and without values in logged errors."""

from __future__ import annotations

from django.conf import settings
from graphql import GraphQLError
from graphql.validation import MaxIntrospectionDepthRule
from strawberry import Schema
from strawberry.extensions import AddValidationRules, DisableIntrospection, SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from chatservice.dialects.graphql.limits import Limits
from chatservice.dialects.graphql.mutations import Mutation
from chatservice.dialects.graphql.queries import Query
from chatservice.dialects.graphql.scopes import Scopes
from chatservice.dialects.graphql.subscriptions import EVENTS, Subscription


class ChatSchema(Schema):
    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Log nothing here: a traceback may contain the question. `errors.shown` logs type and place."""

    def get_extensions(self, sync: bool = False) -> list[SchemaExtension]:
        extensions = super().get_extensions(sync)
        if not (settings.GRAPHQL_PUBLIC_SCHEMA or settings.DOCS):
            extensions.append(DisableIntrospection())
        return extensions


schema = ChatSchema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    types=EVENTS,
    extensions=[Limits, Scopes, lambda: AddValidationRules([MaxIntrospectionDepthRule])],
    config=StrawberryConfig(disable_field_suggestions=True),
)
