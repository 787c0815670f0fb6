"""The scopes that a key needs for the fields of an operation: all of them are checked before any is executed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    separate_operations,
    visit,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema_converter import GraphQLCoreConverter

from accounts.scopes import Scope, ScopeMissing, require_scopes

SCOPE = "scope"


def needs(scope: Scope | None) -> dict[str, Any]:
    """Return the metadata of a field for which a key needs `scope`; None: it belongs to what it is a field of."""
    return {SCOPE: scope}


class Scopes(SchemaExtension):
    def on_validate(self) -> Iterator[None]:
        # Before the validation, whose result could not be changed after it: what it does not know is never executed.
        context = self.execution_context
        document, principal = context.graphql_document, context.context.principal
        if document is not None and not context.pre_execution_errors and principal.scopes is not None:
            try:
                for scope in sorted(_needed(context.schema._schema, document, context.context.operation_name)):
                    require_scopes(principal, [scope] if scope else None)
            except ScopeMissing as missing:
                context.pre_execution_errors = [GraphQLError(str(missing), original_error=missing)]
        yield


def _needed(schema: GraphQLSchema, document: DocumentNode, name: str | None) -> set[str]:
    """Return the scopes that an operation's fields declare, and '' if a root field declares nothing."""
    chosen = separate_operations(document).get(name or "", document)
    found = _Found(schema)
    visit(chosen, TypeInfoVisitor(found.info, found))
    return found.scopes


class _Found(Visitor):
    def __init__(self, schema: GraphQLSchema) -> None:
        super().__init__()
        self.info = TypeInfo(schema)
        self.scopes: set[str] = set()
        self._roots = (schema.query_type, schema.mutation_type, schema.subscription_type)

    def enter_field(self, node: FieldNode, *place: Any) -> None:
        if node.name.value.startswith("__"):
            return
        field = self.info.get_field_def()
        declared = declared_by(field)
        if SCOPE not in declared:
            if self.info.get_parent_type() in self._roots:
                self.scopes.add("")
        elif declared[SCOPE] is not None:
            self.scopes.add(declared[SCOPE])


def declared_by(field: Any) -> dict[Any, Any]:
    """Return the metadata of a field of the graph."""
    known = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF) if field is not None else None
    return dict(getattr(known, "metadata", None) or {})
