"""The scope that a key needs for each operation, and where the service declares it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from graphql import get_named_type, is_composite_type, is_required_argument
from rest_framework.views import APIView

from accounts.scopes import Scope
from chatservice.dialects import DIALECTS
from tests.matrix.operations import graph_operations, methods_of, named, routes, tool_operations
from tests.matrix.rows import anonymous

UNDECLARED = "undeclared"
# Scope -> the operations that a key with this scope may ask for, and no key without it.
SCOPES: dict[Scope | None, tuple[str, ...]] = {
    Scope.READ: (
        "tool read_conversation",
        "tool list_conversations",
        "tool recent",
        "resources list",
        "resources templates/list",
        "resources read",
        "GET /files",
        "GET /files/{file}",
        "GET /files/{file}/thumbnail",
        "GET /v1/chat/conversations",
        "GET /v1/chat/conversations/{conversation}",
        "GET /v1/chat/conversations/{conversation}/export",
        "GET /v1/chat/conversations/{conversation}/messages",
        "GET /v1/chat/imports",
        "GET /v1/chat/imports/{import}",
        "GET /v1/chat/access-log",
        "GET /v1/chat/looks",
        "GET /v1/chat/me/budgets",
        "GET /v1/chat/me/keys",
        "GET /v1/chat/me/storage",
        "GET /v1/chat/me/usage",
        "GET /v1/chat/me",
        "GET /v1/chat/me/export",
        "GET /v1/chat/messages/{message}",
        "GET /v1/chat/shared-links",
        "GET /v1/chat/runs/{run}/stream",
        "GET /v1/chat/completions",
        "GET /v1/chat/completions/{completion}",
        "GET /v1/chat/completions/{completion}/messages",
        "GET /v1/responses/{response}",
        "GET /v1/responses/{response}/input_items",
        "GET /v1/conversations",
        "GET /v1/conversations/{thread}",
        "GET /v1/conversations/{thread}/items",
        "GET /v1/conversations/{thread}/items/{item}",
        "GET /v1/files",
        "GET /v1/files/{file}",
        "GET /v1/files/{file}/content",
        "GET /chat/conversation/{conversation}",
        "GET /chat/conversation/{conversation}/messages",
        "query me",
        "query usage",
        "query conversations",
        "query tags",
        "query conversation",
        "query message",
        "query finishedBlocks",
        "query run",
        "query todos",
        "query todo",
        "query sharedLinks",
        "subscription followRun",
        "field Conversation.messages",
        "field Conversation.activeRun",
        "field Message.conversation",
        "field Message.parent",
        "field Message.reasoning",
        "field Message.run",
        "field Message.siblings",
        "field Todo.conversation",
        "frame subscribe",
        "GET /users",
        "GET /users/{user}",
        "GET /users/{user}/conversations",
        "GET /conversations",
        "GET /conversations/{conversation}",
        "GET /conversations/{conversation}/messages",
        "GET /conversations/{conversation}/messages/{number}",
        "GET /runs/{run}",
        "GET /runs/{run}/stream",
    ),
    Scope.WRITE: (
        "POST /v1/chat/conversations",
        "PATCH /v1/chat/conversations/{conversation}",
        "DELETE /v1/chat/conversations/{conversation}",
        "DELETE /v1/chat/messages/{message}",
        "POST /v1/chat/imports",
        "POST /v1/chat/imports/{import}/cancel",
        "PUT /v1/chat/messages/{answer}/feedback",
        "DELETE /v1/chat/messages/{answer}/feedback",
        "POST /v1/chat/shared-links",
        "DELETE /v1/chat/shared-links/{link}",
        "POST /v1/chat/completions/{completion}",
        "DELETE /v1/chat/completions/{completion}",
        "DELETE /v1/responses/{response}",
        "POST /v1/conversations",
        "POST /v1/conversations/{thread}",
        "DELETE /v1/conversations/{thread}",
        "POST /v1/conversations/{thread}/items",
        "DELETE /v1/conversations/{thread}/items/{item}",
        "POST /v1/files",
        "DELETE /v1/files/{file}",
        "GET /chat/conversation",
        "DELETE /chat/conversation/{conversation}",
        "POST /chat/conversation/{conversation}/message",
        "mutation createTodo",
        "mutation updateTodo",
        "mutation completeTodo",
        "mutation deleteTodo",
        "mutation startConversation",
        "mutation editMessage",
        "mutation showBranch",
        "mutation renameConversation",
        "mutation archiveConversation",
        "mutation pinConversation",
        "mutation setGeneration",
        "mutation setTags",
        "mutation deleteConversation",
        "mutation deleteMessage",
        "mutation setFeedback",
        "mutation deleteFeedback",
        "mutation shareConversation",
        "mutation revokeSharedLink",
        "POST /conversations",
        "PUT /conversations/{conversation}",
        "PATCH /conversations/{conversation}",
        "DELETE /conversations/{conversation}",
        "POST /conversations/{conversation}/messages",
        "PUT /conversations/{conversation}/messages/{number}",
        "PATCH /conversations/{conversation}/messages/{number}",
        "DELETE /conversations/{conversation}/messages/{number}",
    ),
    Scope.GENERATE: (
        "POST /v1/chat/conversations/stream",
        "POST /v1/chat/conversations/{conversation}/messages",
        "POST /v1/chat/conversations/{conversation}/messages/stream",
        "POST /v1/chat/messages/{answer}/cancel",
        "POST /v1/chat/messages/{answer}/regenerate",
        "POST /v1/chat/messages/{answer}/regenerate/stream",
        "POST /v1/chat/messages/{answer}/continue",
        "POST /v1/chat/messages/{answer}/continue/stream",
        "POST /v1/chat/runs/{run}/cancel",
        "POST /v1/chat/completions",
        "POST /v1/responses",
        "POST /v1/responses/compact",
        "POST /v1/responses/{response}/cancel",
        "POST /v1/responses/input_tokens",
        "POST /v1/embeddings",
        "GET /v1/models",
        "GET /v1/models/{model}",
        "GET /chat/conversation/{conversation}/stream",
        "query models",
        "query defaultModel",
        "mutation sendMessage",
        "mutation regenerate",
        "mutation continueAnswer",
        "mutation stopRun",
        "subscription answer",
        "frame send",
        "frame continue",
        "frame stop",
        "POST /conversations/start",
        "POST /conversations/{conversation}/message",
        "POST /conversations/{conversation}/messages:complete",
        "POST /runs/{run}/cancel",
    ),
    Scope.SEARCH: (
        "GET /v1/chat/search",
        "query search",
        "GET /search",
        "POST /mcp",
        "tool search_history",
    ),
    Scope.ACCOUNT: (
        "PATCH /v1/chat/me",
        "POST /v1/chat/me/keys",
        "DELETE /v1/chat/me/keys/{apikey}",
        "POST /v1/chat/me/keys/{apikey}/rotate",
        "DELETE /v1/chat/me",
        "POST /users",
        "PUT /users/{user}",
        "PATCH /users/{user}",
        "DELETE /users/{user}",
    ),
    Scope.USAGE: ("GET /v1/chat/usage",),
    # Every key may: GraphQL checks the fields, and these belong to what they are fields of.
    None: (
        "POST /graphql",
        "field Answer.conversation",
        "field Answer.message",
        "field Answer.question",
        "field AnswerStarted.conversation",
        "field Message.feedback",
        "field Message.files",
        "field Message.toolCalls",
        "frame auth",
        "frame ping",
        "frame unsubscribe",
    ),
}


def scope_of() -> dict[str, Scope | None]:
    """Return the scope of each operation, whose parameters have no names."""
    return {anonymous(operation): scope for scope, operations in SCOPES.items() for operation in operations}


def declared() -> dict[str, Any]:
    """Return what each operation declares: a scope, None for what every key may do, or UNDECLARED."""
    return dict([*_of_views(), *_of_the_graph(), *_of_frames(), *_of_tools()])


def _of_views() -> Iterator[tuple[str, Any]]:
    for path, route in routes():
        view = getattr(route.callback, "cls", None) or getattr(route.callback, "view_class", None)
        if view is not None and issubclass(view, APIView) and not path.startswith("/admin/"):
            for method in methods_of(route.callback):
                yield f"{method} {named(path)}", view.scopes.get(method, UNDECLARED)


def _of_the_graph() -> Iterator[tuple[str, Any]]:
    for operation in graph_operations():
        scopes = importlib.import_module("chatservice.dialects.graphql.scopes")
        yield operation, scopes.declared_by(field_of(operation)).get(scopes.SCOPE, UNDECLARED)


def _of_frames() -> Iterator[tuple[str, Any]]:
    if "websocket" in DIALECTS:
        for frame in importlib.import_module("chatservice.dialects.websocket.client_frames").ClientFrame.__args__:
            yield f"frame {frame.__struct_config__.tag}", frame.__dict__.get("scope", UNDECLARED)


def _of_tools() -> Iterator[tuple[str, Any]]:
    for operation in tool_operations():
        kind, _, name = operation.partition(" ")
        method, params = ("tools/call", {"name": name}) if kind == "tool" else (f"{kind}/{name}", {})
        views = importlib.import_module("chatservice.dialects.mcp.views")
        yield operation, views.scope_of({"method": method, "params": params})


def field_of(operation: str) -> Any:
    """Return a field of the graph: `query me`, `field Message.parent`."""
    graph = importlib.import_module("chatservice.dialects.graphql.schema").schema._schema
    kind, _, name = operation.partition(" ")
    if kind == "field":
        owner, _, name = name.partition(".")
        return graph.type_map[owner].fields[name]
    return getattr(graph, f"{kind}_type").fields[name]


def reads(operation: str) -> bool:
    """Tell whether a field of the graph has a function of its own, which may look something up."""
    known = field_of(operation).extensions.get("strawberry-definition")
    return known is not None and known.base_resolver is not None


def document_of(operation: str) -> str:
    """Return the shortest valid document that asks for a root field; its arguments name nothing that exists."""
    kind, _, name = operation.partition(" ")
    field = field_of(operation)
    given = ", ".join(f'{each}: "x"' for each, argument in field.args.items() if is_required_argument(argument))
    selection = " { __typename }" if is_composite_type(get_named_type(field.type)) else ""
    return f"{kind} {{ {name}{f'({given})' if given else ''}{selection} }}"
