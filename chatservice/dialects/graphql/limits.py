"""Limits on the size of an operation: depth, aliases, tokens, and the number of objects it asks for.

The document is measured before anything else looks at it, in one walk that visits every fragment once. The usual
limiters expand a fragment at each spread, but twenty short fragments that spread each other make a million expansions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_composite_type,
    is_leaf_type,
)
from strawberry.extensions import SchemaExtension

from chatservice.dialects.graphql.pagination import DEFAULT_PAGE
from chatservice.dialects.problems import BadRequest

# These fields cost nothing: the page around them is counted instead.
FREE = {"edges", "node", "pageInfo"}
# Fields that cost more than one row.
WEIGHTS = {"search": 50, "html": 20, "finishedBlocks": 50, "models": 50, "__schema": 500, "__type": 100}
INTROSPECTION_DEPTH = 16
EXPANDED_FIELDS = 5_000
INFINITE = 10**9


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a selection. `fields` counts its fields with every fragment expanded."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    cost: int = 0

    def beside(self, other: Size) -> Size:
        return Size(
            max(self.depth, other.depth),
            min(self.aliases + other.aliases, INFINITE),
            min(self.fields + other.fields, INFINITE),
            min(self.cost + other.cost, INFINITE),
        )


class Measure:
    """Measures the operations of one document. Never fails: invalid documents are left to the validation."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._schema = schema
        self._variables = variables
        self._operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
        self._fragments = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._known: dict[str, Size] = {}
        self._defaults: dict[str, ValueNode] = {}

    @property
    def operations(self) -> int:
        return len(self._operations)

    def size(self) -> Size:
        total = Size()
        for operation in self._operations:
            self._known.clear()
            self._defaults = {
                each.variable.name.value: each.default_value
                for each in operation.variable_definitions or ()
                if each.default_value is not None
            }
            root = self._schema.get_root_type(operation.operation)
            total = total.beside(self._selection(operation.selection_set, root))
        return total

    def _selection(self, selection: SelectionSetNode | None, parent: GraphQLNamedType | None) -> Size:
        total = Size()
        for each in selection.selections if selection else ():
            if isinstance(each, FieldNode):
                total = total.beside(self._field(each, parent))
            elif isinstance(each, InlineFragmentNode):
                condition = each.type_condition
                kind = self._schema.get_type(condition.name.value) if condition else parent
                total = total.beside(self._selection(each.selection_set, kind))
            elif isinstance(each, FragmentSpreadNode):
                total = total.beside(self._fragment(each.name.value))
        return total

    def _fragment(self, name: str) -> Size:
        if name not in self._known:
            self._known[name] = Size()  # a fragment that spreads itself finds this size
            fragment = self._fragments.get(name)
            if fragment is not None:
                kind = self._schema.get_type(fragment.type_condition.name.value)
                self._known[name] = self._selection(fragment.selection_set, kind)
        return self._known[name]

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Size:
        name = node.name.value
        field = None
        if parent is not None and is_composite_type(parent):
            field = self._schema.get_field(parent, name)
        kind = get_named_type(field.type) if field is not None else None
        inner = self._selection(node.selection_set, kind)
        cost = inner.cost
        if kind is not None and not is_leaf_type(kind):
            if field is not None and "first" in field.args:
                cost = self._items(node) * (1 + cost) + WEIGHTS.get(name, 0)
            elif name not in FREE:
                cost += 1
        elif kind is not None:
            cost += WEIGHTS.get(name, 0)
        depth = 1 + inner.depth
        if name.startswith("__"):
            # Introspection reads no data: a rule of graphql-core limits its nested lists.
            cost, depth = WEIGHTS.get(name, 0), inner.depth if inner.depth > INTROSPECTION_DEPTH else 1
        return Size(depth, inner.aliases + (node.alias is not None), inner.fields + 1, min(cost, INFINITE))

    def _items(self, node: FieldNode) -> int:
        """Return the largest number of items the list can have."""
        given = [
            number
            for each in node.arguments or ()
            if each.name.value in ("first", "last") and (number := self._number(each.value)) is not None
        ]
        if given:
            return max(given)
        return settings.LIMIT_TODOS_PER_USER or INFINITE if node.name.value == "todos" else DEFAULT_PAGE

    def _number(self, value: ValueNode) -> int | None:
        most: int = settings.GRAPHQL_PAGE
        if isinstance(value, VariableNode):
            name = value.name.value
            if name in self._variables:
                number = self._variables[name]
                if number is None:
                    return None
                return min(max(number, 0), most) if isinstance(number, int) else most
            return self._number(self._defaults[name]) if name in self._defaults else None
        if isinstance(value, NullValueNode):
            return None
        if isinstance(value, IntValueNode) and len(value.value) < 9:
            return min(max(int(value.value), 0), most)
        return most


def excess(size: Size) -> BadRequest | None:
    """Return the error if a size exceeds a limit, else None."""
    for name, value, limit, code in (
        ("fields, with fragments expanded", size.fields, EXPANDED_FIELDS, "query_too_large"),
        ("levels (GRAPHQL_DEPTH)", size.depth, settings.GRAPHQL_DEPTH, "query_too_deep"),
        ("aliases (GRAPHQL_ALIASES)", size.aliases, settings.GRAPHQL_ALIASES, "too_many_aliases"),
        ("objects (GRAPHQL_COST)", size.cost, settings.GRAPHQL_COST, "query_too_expensive"),
    ):
        if value > limit:
            return BadRequest(f"This asks for more than {limit} {name}.", code=code)
    return None


class Limits(SchemaExtension):
    def on_operation(self) -> Iterator[None]:
        self.execution_context.parse_options["max_tokens"] = settings.GRAPHQL_TOKENS
        yield

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        document = context.graphql_document
        if document is not None:
            measure = Measure(context.schema._schema, document, context.variables or {})
            problem = excess(measure.size())
            if measure.operations > 1 and not context.context.operation_name:
                # Without a name, Strawberry would execute the first operation.
                problem = BadRequest("'operationName' must name one of the document's operations.")
            if problem is not None:
                # With these errors set, nothing else looks at the document.
                context.pre_execution_errors = [GraphQLError(str(problem), original_error=problem)]
        yield
